import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.simformer.per_pixel import PerPixelSegmenter
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.models.backbones import TinyPyramid
from lexiseg.models.maskformer import TINY, PerPixelClassifier
from partial_label_toys import VOCABULARY

SIZE = 32


def batch_of() -> Batch:
    """Make images with two classes that have masks, a void middle, and a tag."""
    torch.manual_seed(1)
    label_maps = torch.full((4, SIZE, SIZE), IGNORE_INDEX)
    label_maps[:, :, :10], label_maps[:, :, 22:] = 0, 2
    tags = torch.zeros(4, len(VOCABULARY), dtype=torch.bool)
    tags[:, 1] = True
    return Batch(
        images=torch.randint(0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8),
        sources=tuple(f"{index}.png" for index in range(4)),
        label_maps=label_maps,
        tags=tags,
    )


def model_of() -> PerPixelSegmenter:
    torch.manual_seed(0)
    return PerPixelSegmenter(
        PerPixelClassifier(TinyPyramid(), len(VOCABULARY), TINY),
        VOCABULARY,
        method=SimFormerSettings(),
        settings=InferenceSettings(short_side=SIZE, refine="none"),
    )


def test_it_learns_from_pixels_with_masks_and_from_nothing_else():
    model, batch = model_of(), batch_of()
    logits = interpolate(model.network(batch.pixels()), size=(SIZE, SIZE), mode="bilinear")
    labelled = batch.label_maps != IGNORE_INDEX
    expected = cross_entropy(logits.movedim(1, -1)[labelled], batch.label_maps[labelled])
    torch.testing.assert_close(model.loss(batch).total(), expected)
    without_tags = dataclasses.replace(batch, tags=torch.zeros_like(batch.tags))
    assert torch.equal(model.loss(without_tags).total(), model.loss(batch).total())


def test_a_batch_without_a_mask_gives_zero_with_a_gradient():
    batch = dataclasses.replace(batch_of(), label_maps=torch.full_like(batch_of().label_maps, IGNORE_INDEX))
    model = model_of()
    total = model.loss(batch).total()
    total.backward()
    assert total.item() == 0
    assert all(value.grad is not None and not value.grad.any() for value in model.parameters())


def test_a_few_steps_lower_the_loss():
    model, batch = model_of(), batch_of()
    optimiser = torch.optim.AdamW([p for g in model.parameter_groups() for _, p in g.parameters], lr=1e-2)
    totals = []
    for _ in range(5):
        optimiser.zero_grad()
        total = model.loss(batch).total()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


def test_its_best_class_is_that_of_the_logits():
    model = model_of().eval()
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        features = model.encode_images(images)
        logits = model.network(images)
    assert features.grid == tuple(logits.shape[-2:])
    assert torch.equal(features.tokens.argmax(-1), logits.flatten(2).argmax(1))
    torch.testing.assert_close(features.tokens.exp().sum(-1), torch.ones(2, features.tokens.shape[1]))


def test_the_backbone_is_as_slow_as_that_of_simformer():
    slow = pytest.approx(0.1)
    factors = {
        name.startswith("network.backbone."): group.lr_factor
        for group in model_of().parameter_groups()
        for name, _ in group.parameters
    }
    assert factors == {True: slow, False: 1.0}
