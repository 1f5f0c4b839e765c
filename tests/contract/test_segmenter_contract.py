"""What every Segmenter keeps, whichever method it is. No implementation is skipped."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lexiseg.inference.segmenter import Segmenter
from lexiseg.runs.load import CHECKPOINTS, MODELS, load
from tiny_bank import save_tiny_bank
from tiny_checkpoints import save_tiny_clip, save_tiny_siglip, save_tiny_siglip2

WORDS = ["cat", "dining table", "sky"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    makers: dict[str, Callable] = {
        "clip": save_tiny_clip,
        "siglip": save_tiny_siglip,
        "siglip2": save_tiny_siglip2,
    }
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


@pytest.fixture(scope="session", params=[*MODELS, "bank", *CHECKPOINTS])
def model(request, folders, tmp_path_factory) -> Segmenter:
    if request.param == "bank":
        bank = save_tiny_bank(tmp_path_factory.mktemp("bank") / "a.bank", WORDS)
        return load(bank, device="cpu")
    return load(str(folders.get(request.param, request.param)), device="cpu")


@pytest.fixture
def image() -> np.ndarray:
    ramp = np.linspace(0, 255, 70 * 90 * 3).reshape(70, 90, 3)
    return (ramp + np.random.default_rng(0).normal(0, 30, ramp.shape)).clip(0, 255).astype(np.uint8)


def grid_input(model: Segmenter, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((batch, 3, 4 * model.stride, 6 * model.stride), generator=generator)


@torch.inference_mode()
def scores(model: Segmenter, images: torch.Tensor, words: list[str]) -> torch.Tensor:
    return model.class_scores(model.encode_images(images), model.embed_texts(words, model.settings.prompts))


def test_scores_have_one_map_a_name_on_the_grid_and_are_finite(model):
    found = scores(model, grid_input(model, 2), WORDS)
    assert found.shape == (2, 3, 4, 6)
    assert torch.isfinite(found).all()


def test_features_state_their_grid_and_stride(model):
    with torch.inference_mode():
        features = model.encode_images(grid_input(model, 1))
    assert features.grid == (4, 6)
    assert features.stride == model.stride


def test_alone_equals_in_a_batch(model):
    images = grid_input(model, 3)
    together = scores(model, images, WORDS)
    torch.testing.assert_close(scores(model, images[1:2], WORDS), together[1:2], rtol=1e-3, atol=1e-4)


def test_permuting_the_words_permutes_the_scores(model):
    images = grid_input(model, 1)
    straight, permuted = scores(model, images, WORDS), scores(model, images, WORDS[::-1])
    torch.testing.assert_close(permuted.flip(1), straight, rtol=1e-3, atol=1e-4)


def test_a_name_scores_the_same_among_other_names_where_the_method_says_so(model):
    images = grid_input(model, 1)
    if model.independent_classes:
        alone = scores(model, images, WORDS[:1])
        torch.testing.assert_close(alone, scores(model, images, WORDS)[:, :1], rtol=1e-3, atol=1e-4)


def test_one_class_is_enough(model, image):
    assert (model.segment(image, "cat").label_map == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (3, 200)])
def test_odd_and_tiny_pictures_keep_their_size(model, size):
    result = model.segment(np.full((*size, 3), 120, np.uint8), WORDS, short_side=64, max_long_side=256)
    assert result.label_map.shape == size
    assert result.label_map.max() < 3


def test_windows_work(model, image):
    result = model.segment(image, WORDS, short_side=8 * model.stride, window=4 * model.stride)
    assert result.label_map.shape == image.shape[:2]


def test_two_calls_agree_and_no_parameter_changes(model, image):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = model.segment(image, WORDS), model.segment(image, WORDS)
    np.testing.assert_array_equal(first.label_map, second.label_map)
    np.testing.assert_array_equal(first.score_map, second.score_map)
    assert all(
        torch.equal(before[name], value) for name, value in model.state_dict().items() if name in before
    )


def test_nothing_is_trained_and_nothing_is_in_training_mode(model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_refinement_only_uses_classes_that_were_there(model, image):
    coarse, refined = (model.segment(image, WORDS, refine=how) for how in ("none", "guided"))
    assert set(np.unique(refined.label_map)) <= set(np.unique(coarse.label_map))


def test_the_record_names_the_model_and_every_setting(model, image):
    record = model.segment(image, WORDS).settings
    assert record["model"] == model.name
    assert {"short_side", "prompts", "background", "refine", "method"} <= set(record)
    assert record["method"], "the method's own settings and the weights' fingerprints belong in the record"
