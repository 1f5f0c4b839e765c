"""T9, the most important test: where the pixels of unseen classes are must not reach training.

Masks of unseen classes are permuted inside their own pixels, tags kept. Every loss and, after some steps of
real training, every weight must be the same to the last bit.
"""

import pytest
import torch

from lexiseg.data.partial_labels.batches import WeakShotBatches, WeakShotSettings, whole_image
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.simformer.model import SimFormer
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.maskformer import TINY, MaskFormer
from partial_label_toys import VOCABULARY, ToyDataset, toy_samples, with_labels_permuted

STEPS = 3


def train(
    samples, method: SimFormerSettings, **settings
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Train for some steps; return the losses of each and the weights at the end."""
    torch.manual_seed(0)
    chosen = WeakShotSettings(**settings)
    masked_labels = MaskedLabels(ToyDataset(samples), gives_truth=chosen.needs_truth)
    data = WeakShotBatches(masked_labels, chosen, whole_image, batch_size=4, seed=1)
    model = SimFormer(
        MaskFormer(TinyPyramid(), len(VOCABULARY), TINY),
        VOCABULARY,
        method=method,
        settings=InferenceSettings(),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(STEPS):
        terms = model(data(step, 0, 4))
        losses.append({name: value.item() for name, value in terms.terms.items()})
        optimiser.zero_grad()
        terms.total().backward()
        optimiser.step()
    return losses, {name: value.clone() for name, value in model.state_dict().items()}


def same(ours, theirs) -> bool:
    weights = all(torch.equal(value, theirs[1][name]) for name, value in ours[1].items())
    return ours[0] == theirs[0] and weights


@pytest.mark.parametrize("pairs", ["none", "self", "cross"])
def test_permuting_unseen_labels_changes_no_loss_and_no_weight(pairs):
    method = SimFormerSettings(pairs=pairs, num_points=12)
    permuted = [with_labels_permuted(sample) for sample in toy_samples()]
    ours = train(toy_samples(), method)
    assert same(ours, train(permuted, method))
    if pairs == "cross":
        assert any(losses["distillation"] != 0 for losses in ours[0])
        assert all(losses["complementary"] > 0 for losses in ours[0])


def test_the_test_can_see_a_leak():
    # The oracle is told the truth, so permuting it must show.
    method = SimFormerSettings(num_points=12, teacher="oracle")
    permuted = [with_labels_permuted(sample) for sample in toy_samples()]
    assert not same(train(toy_samples(), method, truth=True), train(permuted, method, truth=True))


def test_the_tags_do_reach_training():
    method = SimFormerSettings(num_points=12)
    fewer = [sample for sample in toy_samples() if sample.source.stem != "g"]
    assert not same(train(toy_samples(), method), train(fewer, method))
