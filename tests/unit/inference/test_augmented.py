import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from lexiseg.inference.augmented import augmented_labels
from lexiseg.recipes.simformer import tiny


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return tiny().build_model().eval().requires_grad_(False)


def image(height=70, width=52):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scores_of(model, picked, size):
    """The definition, for one view: logits upsampled to it, squashed, summed, resized to the image."""
    encoded = model.encode(picked, short_side=size, tiles="off")
    (features,) = encoded.features
    logits = interpolate(features.as_map(), size=encoded.resized_size, mode="bilinear")
    scores = torch.einsum("qk,qyx->kyx", features.proposals.classes[0], logits[0].sigmoid())
    return interpolate(scores[None], size=picked.shape[:2], mode="bilinear")[0]


def test_scores_of_several_sizes_and_their_mirror_images_are_added(model):
    given, sides = image(), (32, 64)
    total = sum(scores_of(model, given, side) for side in sides)
    total = total + sum(scores_of(model, given[:, ::-1].copy(), side).flip(2) for side in sides)
    found = augmented_labels(model, given, model.vocabulary, short_sides=sides, mirrored=True)
    chosen = total.gather(0, torch.from_numpy(found.astype(np.int64))[None])[0]
    torch.testing.assert_close(chosen, total.amax(dim=0), atol=1e-5, rtol=0)


def test_one_view_is_what_is_segmented_without_it(model, monkeypatch):
    monkeypatch.setattr("lexiseg.inference.augmented._BAND_NUMEL", 12 * 52 * 9)  # bands of nine rows
    found = augmented_labels(model, image(), model.vocabulary, short_sides=(64,), mirrored=False)
    expected = model.segment(image(), model.vocabulary, refine="none", short_side=64, tiles="off").label_map
    assert (found == expected).mean() > 0.999
