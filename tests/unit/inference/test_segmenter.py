"""Encoded images and lists of images: what is recorded, refused and held in memory."""

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import InputError
from toy_segmenter import ColourSegmenter

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def test_an_encoded_image_is_recorded_with_its_own_size_and_windows():
    model = ColourSegmenter()
    encoded = model.encode(IMAGE, short_side=64, max_long_side=80, window=32, window_stride=16)
    record = model.segment(encoded, "red, blue", blend="tent").settings
    fields = ("short_side", "max_long_side", "window", "window_stride", "blend")
    assert [record[name] for name in fields] == [64, 80, 32, 16, "tent"]
    how = {"short_side": 64, "max_long_side": 80, "window": 32, "window_stride": 16}
    assert record == model.segment(IMAGE, "red, blue", blend="tent", **how).settings
    assert model.segment(encoded, "red", **how).settings["window"] == 32


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"short_side": 32}, "short_side = 32 for an image encoded with 64"),
        ({"window": 16}, "window = 16 for an image encoded with None"),
        ({"max_long_side": 9}, "max_long_side = 9 for an image encoded with 2048"),
    ],
)
def test_a_change_that_comes_too_late_is_refused_before_anything_is_encoded(changes, found):
    model = ColourSegmenter()
    encoded = model.encode(IMAGE, short_side=64)
    with pytest.raises(InputError) as caught:
        model.segment([IMAGE, encoded], "red, blue", **changes)
    assert found in str(caught.value)
    assert "Encode the image again" in caught.value.fix
    assert len(model.encoded_batches) == 1


def test_what_another_model_encoded_is_refused():
    other = ColourSegmenter()
    other.name = "other colours"
    with pytest.raises(InputError, match="found features of other colours; expected features of colours"):
        ColourSegmenter().segment(other.encode(IMAGE), "red, blue")


def test_an_encoded_image_remembers_its_file(tmp_path):
    model = ColourSegmenter()
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        Image.fromarray(IMAGE).save(file)
    encoded = [model.encode(files[0]), model.encode(str(files[1]))]
    for result in model.segment(encoded, "red, blue"):
        result.save(tmp_path / "out")
    assert [each.source for each in encoded] == files
    assert {file.name for file in (tmp_path / "out").glob("*.json")} == {"a.json", "b.json"}
    assert model.encode(IMAGE).source is None
    assert len(repr(encoded[0])) < 1000


def test_a_list_is_encoded_a_few_at_a_time_and_keeps_its_order(tmp_path):
    model = ColourSegmenter()
    sizes = [(20, 20), (20, 30)] * 10
    images = [np.full((*size, 3), 12 * index, np.uint8) for index, size in enumerate(sizes)]
    images[11] = tmp_path / "absent.png"
    with pytest.raises(InputError):
        model.segment(images, "black, white")
    assert sum(model.encoded_batches) == 8
    assert model.encoded_batches == [4, 4]  # sorted by shape, or there were eight calls
    images[11] = np.full((20, 30, 3), 132, np.uint8)
    results = model.segment(images, "black, white")
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.image, image)
        np.testing.assert_array_equal(result.label_map, model.segment(image, "black, white").label_map)


def test_images_of_one_list_may_be_encoded_differently():
    model = ColourSegmenter()
    encoded = model.encode(IMAGE, short_side=64)
    results = model.segment([IMAGE, encoded], "red, blue")
    assert [result.settings["short_side"] for result in results] == [32, 64]
