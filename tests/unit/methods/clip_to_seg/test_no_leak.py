"""U13, the most important test: where and what unseen classes are must not reach training.

Labels of unseen classes are permuted, or unseen classes get other names. Every tensor of every batch, every loss and,
after some steps of real training, every weight must be the same to the last bit.
"""

import dataclasses

import pytest
import torch

from distillation_toys import ToyFeatures, toy_batches, toy_method, toy_model, toy_view
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.partial_labels.distillation_batches import DistillationBatches, WholeImages
from partial_label_toys import SEEN, SIZE, VOCABULARY, toy_samples, with_labels_permuted

STEPS = 3
RENAMED = Vocabulary(names=(*VOCABULARY.names[:3], "lynx", "jackal", "finch"), seen=SEEN)


def train(samples, method=None, *, vocabulary=VOCABULARY, **more):
    """Train for some steps; give the batches, the losses of each and the weights at the end."""
    method = method or toy_method()
    view = toy_view(samples, vocabulary, gives_truth=more.get("truth", False))
    data = DistillationBatches(
        view, WholeImages(size=SIZE), ToyFeatures(toy_samples()), batch_size=4, seed=1, **more
    )
    model = toy_model(method, names=view.names).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches, losses = [], []
    for step in range(STEPS):
        batch = data(step, 0, 4)
        torch.manual_seed(step)
        terms = model(batch)
        batches.append({name: value for name, value in vars(batch).items() if torch.is_tensor(value)})
        losses.append({name: value.item() for name, value in {**terms.terms, **terms.observed}.items()})
        optimiser.zero_grad()
        terms.total().backward()
        optimiser.step()
    return batches, losses, {name: value.clone() for name, value in model.state_dict().items()}


def same(ours, theirs) -> bool:
    tensors = all(
        torch.equal(value, other[name])
        for one, other in zip(ours[0], theirs[0], strict=True)
        for name, value in one.items()
    )
    weights = all(torch.equal(value, theirs[2][name]) for name, value in ours[2].items())
    return tensors and ours[1] == theirs[1] and weights


@pytest.mark.parametrize("masks", ["mined", "none", "random"])
@pytest.mark.parametrize("reading", ["prose", "literal"])
def test_permuting_unseen_labels_changes_no_tensor_no_loss_and_no_weight(masks, reading):
    method = toy_method(masks=masks, merging=reading)
    permuted = [with_labels_permuted(sample) for sample in toy_samples()]
    assert any(
        (one.label_map != other.label_map).any()
        for one, other in zip(toy_samples(), permuted, strict=True)
        if one.label_map is not None
    )
    ours = train(toy_samples(), method)
    assert same(ours, train(permuted, method))
    if masks == "mined":
        assert any(losses["latent_classes"] > 0 for losses in ours[1]), "nothing was mined"


def test_swapping_unseen_labels_for_each_other_changes_nothing():
    swapped = []
    for sample in toy_samples():
        label_map = None if sample.label_map is None else sample.label_map.copy()
        if label_map is not None:
            for label, other in ((3, 4), (4, 5), (5, 3)):
                label_map[sample.label_map == label] = other
        swapped.append(dataclasses.replace(sample, label_map=label_map))
    assert same(train(toy_samples()), train(swapped))


def test_renaming_unseen_classes_changes_nothing():
    assert same(train(toy_samples()), train(toy_samples(), vocabulary=RENAMED))


def test_tags_and_captions_change_nothing():
    spoken = [
        dataclasses.replace(sample, tags=frozenset({3, 4, 5}), captions=("a cat and a bird",))
        for sample in toy_samples()
    ]
    assert same(train(toy_samples()), train(spoken))


def test_the_test_can_see_a_leak():
    method = toy_method(masks="oracle")
    permuted = [with_labels_permuted(sample) for sample in toy_samples()]
    assert not same(train(toy_samples(), method, truth=True), train(permuted, method, truth=True))


def test_masks_of_seen_classes_do_reach_training():
    blank = [dataclasses.replace(sample, label_map=None) for sample in toy_samples()]
    assert not same(train(toy_samples()), train(blank))


def test_a_batch_holds_no_label_of_an_unseen_class():
    data = toy_batches(toy_samples())
    for step in range(4):
        labels = data(step, 0, 4).label_maps
        assert set(labels.unique().tolist()) <= {0, 1, 2, 65535}
