import numpy as np
import pytest
import torch

from lexiseg.recipes.maskformer import build_maskformer, vocabulary_of
from lexiseg.runs.load import load
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json
from tiny_maskformers import NAMES, save_tiny_maskformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_maskformer(tmp_path_factory.mktemp("maskformer"), "resnet")


def test_what_is_written_of_a_class_is_its_name_and_synonyms():
    found = vocabulary_of(
        ["wall", "building, edifice", "screen door, screen", "screen", "bar, pub", "bar, rod"]
    )
    assert found.names == ("wall", "building", "screen door", "screen", "bar, pub", "bar, rod")
    assert found.synonyms == ((), ("edifice",), (), (), ("pub",), ("rod",))


def test_it_labels_as_transformers_does(folder):
    """The published way: its own label numbers; logits upsampled to the image, then squashed and summed."""
    from transformers import MaskFormerForInstanceSegmentation

    model = load(folder, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    found = model.segment(image, short_side=64, max_long_side=96)
    assert found.vocabulary.names == ("wall", "building", "sky", "floor", "tree")
    theirs = MaskFormerForInstanceSegmentation.from_pretrained(folder).eval()
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGE_MEAN, IMAGE_STD))
    pixels = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        output = theirs(pixels[None])
    logits = torch.nn.functional.interpolate(output.masks_queries_logits, size=(64, 96), mode="bilinear")
    classes = output.class_queries_logits.softmax(-1)[..., :-1]
    expected = torch.einsum("bqc,bqhw->bchw", classes, logits.sigmoid())[0].numpy()
    np.testing.assert_allclose(found.score_map, expected.max(0), rtol=1e-3)
    assert (found.label_map == expected.argmax(0)).mean() > 0.99
    for label, name in enumerate(
        NAMES
    ):  # every name has the scores of its own logit, none those of its neighbour
        alone = model.segment(image, name.split(",")[0], short_side=64, max_long_side=96, background="none")
        np.testing.assert_allclose(alone.score_map, expected[label], rtol=1e-3)
    assert np.ptp(expected.mean(axis=(1, 2))) > 1e-3


def test_one_word_leaves_the_rest_to_the_background(folder):
    model = load(folder, device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    everything = model.segment(image, short_side=64).label_map
    most = int(np.bincount(everything.ravel()).argmax())
    found = model.segment(image, NAMES[most].split(",")[0], short_side=64)
    assert found.vocabulary.names[1] == "background"
    np.testing.assert_array_equal(found.label_map == 0, everything == most)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"size": {"shortest_edge": 512, "longest_edge": 2048}}, (512, 2048)),
        ({"size": 640, "max_size": 2560}, (640, 2560)),
        ({"size": None}, (800, 1333)),
    ],
)
def test_it_sees_images_at_the_size_it_was_evaluated_at(tmp_path, size, expected):
    save_tiny_maskformer(tmp_path, "resnet")
    change_json(tmp_path / "preprocessor_config.json", **size)
    settings = build_maskformer(str(tmp_path)).settings
    assert (settings.short_side, settings.max_long_side) == expected
