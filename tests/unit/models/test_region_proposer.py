import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lexiseg.core.errors import MissingPackageError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.models.region_proposer import RegionProposer, RegionSettings

pytest.importorskip("skimage", reason="scikit-image is absent: the classical proposer was not tried")


class LeftAndRight(ImageEncoder):
    """Tells the left half of an image from the right, whatever the colours."""

    def __init__(self) -> None:
        super().__init__()
        self.stride = 8
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, int]] = []

    def forward(self, images):
        grid = images.shape[2] // 8, images.shape[3] // 8
        self.seen.append((images.shape[2], images.shape[3]))
        right = (torch.arange(grid[1]) >= grid[1] / 2).repeat(grid[0])
        tokens = torch.stack([~right, right], dim=1).float() * self.weight
        return PatchFeatures(tokens=tokens[None].repeat(len(images), 1, 1), grid=grid, stride=8)


def two_colours(height: int, width: int) -> np.ndarray:
    image = np.full((height, width, 3), (200, 30, 30), np.uint8)
    image[height // 2 :] = (30, 30, 200)
    return image


@pytest.mark.parametrize("size", [(96, 128), (301, 203), (8, 200), (1, 1), (700, 900)])
def test_every_pixel_is_in_exactly_one_region(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = RegionProposer(None).propose(image)
    assert found.masks.shape == (len(found), *size)
    assert (found.masks.sum(0) == 1).all()
    assert found.areas.min() > 0
    assert found.scores is None


def test_colours_are_told_apart():
    image = two_colours(96, 128)
    regions = RegionProposer(None).label_regions(image)
    assert regions.max() == 1
    assert (regions[:48] == 0).mean() > 0.98
    assert (regions[48:] == 1).mean() > 0.98


def test_the_encoder_tells_apart_what_has_the_same_colour():
    image = np.full((96, 128, 3), 120, np.uint8)
    image[::2, ::2] = 124
    assert RegionProposer(None).label_regions(image).max() == 0
    both = RegionProposer(LeftAndRight(), RegionSettings(feature_weight=4.0)).label_regions(image)
    assert both.max() >= 1
    left, right = both[:, :60], both[:, 70:]
    assert not set(np.unique(left)) & set(np.unique(right))


def test_the_encoder_sees_multiples_of_its_stride_near_the_short_side():
    encoder = LeftAndRight()
    proposer = RegionProposer(encoder, RegionSettings(short_side=100))
    proposer.propose(two_colours(200, 304))
    proposer.propose(two_colours(20, 2000))
    assert encoder.seen == [(96, 152), (96, 304)]


def test_there_are_never_more_regions_than_allowed():
    across, down = np.meshgrid(np.linspace(0, 255, 128), np.linspace(0, 255, 96))
    image = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    settings = RegionSettings(max_distance=0.0, min_share=0.0)
    assert RegionProposer(None, settings).label_regions(image).max() + 1 == settings.max_regions
    few = RegionProposer(None, replace(settings, max_regions=5)).label_regions(image)
    assert few.max() + 1 == 5


def test_two_calls_agree():
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    proposer = RegionProposer(LeftAndRight())
    assert np.array_equal(proposer.label_regions(image), proposer.label_regions(image))


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError) as caught:
        RegionProposer(None).propose(two_colours(16, 16))
    assert str(caught.value) == (
        "cutting an image into superpixels: found no package scikit-image; expected scikit-image, which "
        "comes with the extra 'rim'. Run: pip install \"lexiseg[rim]\"."
    )
