import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lexiseg.core.errors import InputError
from lexiseg.data.augmentation.random_crop import RandomCropSettings, draw_crop, resize_crop
from lexiseg.data.augmentation.seeding import sample_rng


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700), seed=st.integers(0, 1000))
def test_a_box_lies_in_the_image(height: int, width: int, seed: int) -> None:
    top, left, box_height, box_width = draw_crop(
        height, width, RandomCropSettings(), np.random.default_rng(seed)
    )
    assert top >= 0
    assert left >= 0
    assert 0 < box_height <= height - top
    assert 0 < box_width <= width - left


def test_areas_and_aspects_fill_their_ranges() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([draw_crop(480, 480, RandomCropSettings(), rng)[2:] for _ in range(2000)])
    areas, aspects = boxes.prod(1) / 480**2, boxes[:, 1] / boxes[:, 0]
    assert 0.595 < areas.min() < 0.61
    assert areas.max() > 0.97
    assert 0.745 < aspects.min() < 0.78
    assert 1.29 < aspects.max() < 1.34
    assert abs(np.log(aspects).mean()) < 0.02  # as often wide as high


def test_a_thin_image_gives_its_middle() -> None:
    box = draw_crop(10, 1000, RandomCropSettings(), np.random.default_rng(0))
    assert box == (0, 493, 10, 13)


def test_a_crop_agrees_with_pillow() -> None:
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC))
    ours = resize_crop(image, (30, 50, 200, 260), 96)
    theirs = Image.fromarray(image[30:230, 50:310]).resize((96, 96), Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1


def test_a_box_of_the_right_size_is_copied() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(resize_crop(image, (3, 5, 32, 32), 32), image[3:35, 5:37])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"setting up random crops: found areas 0\.9–0\.5"):
        RandomCropSettings(min_area=0.9, max_area=0.5)


def test_every_sample_has_numbers_of_its_own() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    draws = {key: float(sample_rng(*key).random()) for key in keys}
    assert len(set(draws.values())) == 4
    assert draws[0, 0, 1] == float(sample_rng(0, 0, 1).random())
    assert sample_rng(0, 0, 1, stream=1).random() != draws[0, 0, 1]
