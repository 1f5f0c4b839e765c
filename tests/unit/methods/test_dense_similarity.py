import hashlib
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.dense_similarity import DenseSimilarity

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class Colours(ImageEncoder):
    """A patch's token is its mean colour, in some length."""

    stride = 4

    def forward(self, images: Tensor) -> PatchFeatures:
        means = torch.nn.functional.avg_pool2d(images, 4) * 3
        grid = (means.shape[2], means.shape[3])
        return PatchFeatures(tokens=means.flatten(2).transpose(1, 2).contiguous(), grid=grid, stride=4)


class ColourNames(TextEncoder):
    """A text's embedding is the colour it names; others are somewhere between."""

    fingerprint = "colours"

    def forward(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([self.embed(text) for text in texts])

    @staticmethod
    def embed(text: str) -> tuple[float, ...]:
        for name, colour in COLOURS.items():
            if name in text:
                return colour
        return tuple(byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:3])


@pytest.fixture
def model(tmp_path, monkeypatch) -> DenseSimilarity:
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    settings = InferenceSettings(short_side=32, refine="none")
    return DenseSimilarity(Colours(), ColourNames(), name="colours", settings=settings, image_side=8)


def scores(model: DenseSimilarity, images: Tensor, names: Sequence[str]) -> Tensor:
    return model.class_scores(model.encode_images(images), model.embed_texts(names, "bare"))


def test_scores_are_cosines(model):
    images = torch.rand(2, 3, 8, 12)
    got = scores(model, images, ["red", "blue"])
    assert got.shape == (2, 2, 2, 3)
    means = torch.nn.functional.avg_pool2d(images, 4)
    expected = torch.stack([means[:, 0], means[:, 2]], dim=1) / means.norm(dim=1, keepdim=True)
    torch.testing.assert_close(got, expected)


def test_permuting_the_names_permutes_the_scores(model):
    images = torch.rand(1, 3, 8, 8)
    names = ["red", "green", "sky"]
    straight = scores(model, images, names)
    for order in permutations(range(3)):
        torch.testing.assert_close(scores(model, images, [names[i] for i in order]), straight[:, list(order)])


def test_a_part_of_the_vocabulary_scores_as_it_does_in_the_whole(model):
    assert model.independent_classes
    images = torch.rand(1, 3, 8, 8)
    whole = scores(model, images, ["red", "green", "sky"])
    torch.testing.assert_close(scores(model, images, ["sky"]), whole[:, 2:])


def test_the_stride_and_the_settings_are_the_encoders(model):
    assert model.stride == 4
    assert model.name == "colours"
    assert model.settings.short_side == 32


def test_results_record_which_weights_made_them(model):
    assert model.method_settings["text_encoder"] == "colours"
    assert len(model.method_settings["image_encoder"]) == 64


def test_a_image_of_two_colours_is_segmented_into_them(model):
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, :32] = (250, 10, 10)
    image[:, 32:] = (10, 10, 250)
    segmentation = model.segment(image, ["blue", "green", "red"])
    labels = np.asarray(segmentation.label_map)
    assert labels.shape == (40, 64)
    assert (labels[:, :30] == 2).all()
    assert (labels[:, 34:] == 0).all()
