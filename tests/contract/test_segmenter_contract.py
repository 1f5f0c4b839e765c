"""What every Segmenter keeps, whichever method it is. No implementation is skipped."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import chain
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.interfaces import ExplainingModel
from lexiseg.data.folder import FolderDataset
from lexiseg.data.scenes.class_table import STUFFS, THINGS
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.recipes.base import TRAINING_RECIPES, find_recipe
from lexiseg.runs.load import CHECKPOINTS, MODELS, load
from lexiseg.runs.train import train_recipe
from lexiseg.scoring.store.blocks import StoredImage
from lexiseg.scoring.store.counts import best_scores, with_threshold, without_background
from lexiseg.scoring.store.predict import predict_into
from lexiseg.scoring.store.store import PredictionStore
from tiny_bank import save_tiny_bank
from tiny_checkpoints import (
    save_tiny_clip,
    save_tiny_clipseg,
    save_tiny_groupvit,
    save_tiny_siglip,
    save_tiny_siglip2,
)
from tiny_maskformers import save_tiny_maskformer, save_tiny_pixel_classifier, save_tiny_universal
from tiny_vision_checkpoints import save_tiny_sam3

WORDS = ["cat", "dining table", "sky"]
SCENE_WORDS = [THINGS[0].name, THINGS[1].name, STUFFS[0].name]
#: Every trained method, by the recipe that trains it in seconds.
TRAINED = [name for name in TRAINING_RECIPES if name.endswith("/tiny")]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    makers: dict[str, Callable] = {
        "clip": save_tiny_clip,
        "clipseg": save_tiny_clipseg,
        "dpt": lambda folder: save_tiny_pixel_classifier(folder, "dpt"),
        "groupvit": save_tiny_groupvit,
        "mask2former": lambda folder: save_tiny_universal(folder, "mask2former"),
        "maskformer": lambda folder: save_tiny_maskformer(folder, "resnet", width=64),
        "oneformer": lambda folder: save_tiny_universal(folder, "oneformer"),
        "sam3": lambda folder: save_tiny_sam3(folder, video=False),
        "sam3_video": save_tiny_sam3,
        "segformer": lambda folder: save_tiny_pixel_classifier(folder, "segformer"),
        "siglip": save_tiny_siglip,
        "siglip2": save_tiny_siglip2,
        "upernet": lambda folder: save_tiny_pixel_classifier(folder, "upernet"),
    }
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


@pytest.fixture(scope="session", params=[*MODELS, "bank", *CHECKPOINTS, *TRAINED])
def model(request, folders, tmp_path_factory) -> Segmenter:
    """Every model; tiling is off unless a test asks for it: small networks would cut each image into many windows."""
    if request.param == "bank":
        source: object = save_tiny_bank(tmp_path_factory.mktemp("bank") / "a.bank", WORDS)
    elif request.param in TRAINED:
        recipe = find_recipe(request.param)
        recipe = replace(recipe, run=replace(recipe.run, num_steps=1))
        source = tmp_path_factory.mktemp("runs") / "run"
        train_recipe(request.param, recipe=recipe, out=source, quiet=True)
    else:
        source = str(folders.get(request.param, request.param))
    built = load(source, device="cpu")
    built.settings = replace(built.settings, tiles="off")
    return built


@pytest.fixture
def words(request, model) -> list[str]:
    """Words that the model takes: any, or some of those it was trained with."""
    own = getattr(model, "vocabulary", None)
    if own is not None:
        return [name for label, name in enumerate(own.names) if label != own.background][:3]
    return SCENE_WORDS if request.node.callspec.params["model"] in TRAINED else WORDS


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


def tensors(model: Segmenter) -> Iterator[tuple[str, torch.Tensor]]:
    """Return every number that a label map depends on, also what no file keeps."""
    return chain(model.named_parameters(), model.named_buffers())


def test_scores_have_one_map_a_name_on_the_grid_and_are_finite(model, words):
    found = scores(model, grid_input(model, 2), words)
    assert found.shape == (2, 3, 4, 6)
    assert torch.isfinite(found).all()


def test_features_state_their_grid_and_stride(model):
    with torch.inference_mode():
        features = model.encode_images(grid_input(model, 1))
    assert features.grid == (4, 6)
    assert features.stride == model.stride


def test_alone_equals_in_a_batch(model, words):
    images = grid_input(model, 3)
    together = scores(model, images, words)
    torch.testing.assert_close(scores(model, images[1:2], words), together[1:2], rtol=1e-3, atol=1e-4)


def test_permuting_the_words_permutes_the_scores(model, words):
    images = grid_input(model, 1)
    straight, permuted = scores(model, images, words), scores(model, images, words[::-1])
    torch.testing.assert_close(permuted.flip(1), straight, rtol=1e-3, atol=1e-4)


def test_a_name_scores_the_same_among_other_names_where_the_method_says_so(model, words):
    images = grid_input(model, 1)
    if model.independent_classes:
        alone = scores(model, images, words[:1])
        torch.testing.assert_close(alone, scores(model, images, words)[:, :1], rtol=1e-3, atol=1e-4)


def test_one_class_is_enough(model, image, words):
    assert (model.segment(image, words[0], background="none").label_map == 0).all()


@pytest.mark.exhaustive("model", "size")
@pytest.mark.parametrize("size", [(1, 1), (17, 23), (3, 200)])
def test_odd_and_tiny_images_keep_their_size(model, size, words):
    result = model.segment(np.full((*size, 3), 120, np.uint8), words, short_side=64, max_long_side=256)
    assert result.label_map.shape == size
    assert result.label_map.max() < len(result.vocabulary)


def test_windows_work(model, image, words):
    result = model.segment(image, words, short_side=8 * model.stride, window=4 * model.stride)
    assert result.label_map.shape == image.shape[:2]


@pytest.mark.exhaustive
def test_two_calls_agree_and_no_parameter_changes(model, image, words):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = model.segment(image, words), model.segment(image, words)
    np.testing.assert_array_equal(first.label_map, second.label_map)
    np.testing.assert_array_equal(first.score_map, second.score_map)
    assert all(
        torch.equal(before[name], value) for name, value in model.state_dict().items() if name in before
    )


def test_nothing_is_trained_and_nothing_is_in_training_mode(model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.exhaustive
def test_every_pixel_can_be_explained_and_agrees_with_the_label_map(model, image, words):
    result, encoded = model.segment(image, words), model.encode(image)
    assert isinstance(model, ExplainingModel)
    for outside in ((-1, 0), (0, 70), (90, 0)):
        with pytest.raises(InputError, match=r"found the point .* in an image of 90×70"):
            model.explain(encoded, words, outside)
    for x, y in ((0, 0), (45, 35), (89, 69)):
        found = model.explain(encoded, words, (x, y))
        number = int(result.label_map[y, x])
        assert found.label == ("void" if number == IGNORE_INDEX else result.vocabulary.names[number])
        assert found.score == float(result.score_map[y, x])
        assert found.evidence or not found.ranking, "what was ranked was ranked by something"
        values = [each.value for each in found.ranking]
        assert np.isfinite(values).all()
        assert values == sorted(values, reverse=not found.lower_wins)
        assert found.runner_up != found.label
        if found.margin is not None and found.ranking[0].name == found.label and len(values) > 1:
            assert found.margin == pytest.approx(abs(values[0] - values[1]), abs=1e-6)
        assert {each.supports for each in found.evidence} <= {*result.vocabulary.names}
        if model.settings.refine == "none" and found.ranking and found.label in words:
            assert found.ranking[0].name == found.label, "what is told is what decided"
        json.dumps(found.to_json(images=True))


@pytest.mark.exhaustive
def test_refinement_only_uses_classes_that_were_there(model, image, words):
    coarse = model.segment(image, words, refine="none").label_map
    for how in ("guided", "crf"):
        try:
            refined = model.segment(image, words, refine=how).label_map
        except InputError:  # the method's maps are cut otherwise, which it says
            continue
        assert set(np.unique(refined)) <= set(np.unique(coarse)) | {len(words)}


def test_the_record_names_the_model_and_every_setting(model, image, words):
    record = model.segment(image, words).settings
    assert record["model"] == model.name
    assert {"short_side", "prompts", "background", "refine", "method"} <= set(record)
    assert record["method"], "the method's own settings and the weights' fingerprints belong in the record"


def stored(model: Segmenter, image: np.ndarray, words: list[str], folder, **changes) -> StoredImage:
    """Predict one image into a store, as ``lexiseg predict`` does."""
    (folder / "images").mkdir(parents=True)
    Image.fromarray(image).save(folder / "images" / "a.png")
    (folder / "classes.txt").write_text("\n".join(words) + "\n")
    predict_into(model, FolderDataset(folder), folder / "store", **changes)
    return PredictionStore(folder / "store")["a"]


def between(scores: np.ndarray) -> float:
    """Return a threshold in the widest gap of the scores' middle half, where half precision cannot matter."""
    values = np.unique(scores.astype(np.float16).astype(np.float32))
    middle = values[len(values) // 4 : max(len(values) // 4 + 2, 3 * len(values) // 4 + 1)]
    if len(middle) < 2:
        return float(values[0]) - 1
    gap = int(np.argmax(np.diff(middle)))
    return float(middle[gap] + middle[gap + 1]) / 2


#: Ways to decide background, and of moving borders: each with what the method says of deciding again.
WAYS = [
    {"background": background, "refine": refine, **({"threshold": -1e4} if background == "threshold" else {})}
    for background in ("none", "name", "words", "threshold")
    for refine in ("none", "guided", "crf")
] + [
    {"background": "none", "refine": "none", "tiles": "auto"},
    {"background": "name", "refine": "none", "tiles": "auto"},
]


@pytest.mark.exhaustive("model", "way")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_a_store_decides_again_as_the_method_would_where_it_says_so(model, words, image, way, tmp_path):
    settings = replace(model.settings, short_side=4 * model.stride, **way)
    try:
        model.refuse_settings(settings)
        model.name_classes(words, settings)
    except (InputError, VocabularyError):
        return  # that it refuses before encoding is shown below
    size = {"short_side": 4 * model.stride}
    kept = stored(model, image, words, tmp_path / "data", **size, **way)
    allowed = model.redecisions(settings)
    assert ("threshold" in allowed) or way["background"] != "threshold", (
        "a run by a threshold keeps what decided"
    )
    assert (kept.top is not None) == bool(allowed)
    background = len(words) if way["background"] in ("name", "words") else 65534
    if "threshold" in allowed:
        size |= {"tiles": way.get("tiles", "off")}
        again = {**size, "refine": way["refine"], "background": "threshold"}
        decided = model.segment(image, words, **again, threshold=-1e4)
        labels = without_background(kept, background)
        scores = best_scores(kept, labels)
        assert (labels == decided.label_map).mean() > 0.999  # half precision ties
        np.testing.assert_allclose(scores, decided.score_map, rtol=2e-3, atol=2e-3)
        threshold = between(decided.score_map)
        found = with_threshold(kept, background, threshold, paint=len(words))
        expected = model.segment(image, words, **again, threshold=threshold).label_map
        assert (found == expected).mean() > 0.999
    if "drop_background" in allowed:
        expected = model.segment(image, words, **size, refine=way["refine"], background="none").label_map
        assert (without_background(kept, background) == expected).mean() > 0.999


def _legal_values() -> list[dict[str, object]]:
    """Every value of every choice in the settings, and numbers at both ends; made from the settings themselves."""
    numbers = {
        "short_side": (1, 40), "max_long_side": (1, 64), "window": (1, 32, 33), "window_stride": (16, 31),
        "memory_mb": (1,), "threshold": (-2.0, 0.1), "min_probability": (0.3,), "logit_scale": (1.0, 100.0),
        "min_area_share": (0.1,),
    }  # fmt: skip
    found: list[dict[str, object]] = []
    for field in fields(InferenceSettings):
        choices = (False, True) if field.type is bool else get_args(field.type)
        if field.name == "prompts":
            choices = ("bare",)
        elif field.name in numbers:
            choices = numbers[field.name]
        assert choices, f"{field.name}: say what is legal"
        for value in choices:
            change = {field.name: value}
            if field.name == "window_stride":
                change |= {"window": 32}
            if field.name == "threshold" or value == "threshold":
                change = {"background": "threshold", "threshold": change.get("threshold", 0.1)}
            if field.name in ("min_probability", "logit_scale") or value == "probability":
                change = {"background": "probability", "min_probability": 0.3, **change}
            found.append(change)
    return found


@pytest.mark.exhaustive("model", "change")
@pytest.mark.parametrize("change", _legal_values(), ids=str)
def test_settings_work_or_are_refused_before_anything_is_encoded(model, words, image, change, monkeypatch):
    encoded = []
    encode = model.encode_images
    monkeypatch.setattr(model, "encode_images", lambda images: (encoded.append(1), encode(images))[1])
    settings = {"short_side": 64, "max_long_side": 128} | change
    refusal, result = None, None
    try:
        result = model.segment(image, words, **settings)
    except (InputError, VocabularyError) as error:
        refusal = error
    if result is None:
        assert not encoded, f"refused after encoding: {refusal}"
    else:
        assert result.label_map.shape == image.shape[:2]
        labels = result.label_map
        if settings.get("none_of_these") == "label":
            labels = labels[labels != IGNORE_INDEX]
        assert (labels < len(result.vocabulary)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", ["its own call", "to"])
def test_half_precision_is_refused_before_a_number_changes(model, dtype, how):
    before = {name: value.clone() for name, value in tensors(model)}
    own = model.half if dtype is torch.float16 else model.bfloat16
    with pytest.raises(InputError, match=f"found {dtype}.*expected float32.*dtype=.bfloat16"):
        own() if how == "its own call" else model.to(dtype)
    assert all(torch.equal(before[name], value) for name, value in tensors(model))
    assert model.float() is model
