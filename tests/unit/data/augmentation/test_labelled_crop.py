import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.data.augmentation.labelled_crop import LabelledCropSettings, crop_with_labels

PLAIN = LabelledCropSettings(size=32, flip=False, colour_jitter=False)


def photo(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels in quarters, and the image in a colour for each label."""
    labels = np.zeros((height, width), np.uint16)
    labels[height // 2 :] += 2
    labels[:, width // 2 :] += 1
    return np.repeat((40 * labels + 20).astype(np.uint8)[..., None], 3, axis=2), labels


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 1000))
def test_image_labels_and_padding_fit_together(height: int, width: int, seed: int) -> None:
    image, labels = photo(height, width)
    crop = crop_with_labels(image, labels, PLAIN, np.random.default_rng(seed))
    assert (crop.image[crop.padding] == 128).all()
    assert np.array_equal(crop.padding, crop.label_map == IGNORE_INDEX)
    if min(height, width) >= 8:
        seen = ~crop.padding
        agree = np.abs(crop.image[seen][:, 0].astype(int) - (40 * crop.label_map[seen].astype(int) + 20)) < 20
        assert agree.mean() > 0.8  # all but the blurred borders


def test_padding_is_on_the_right_and_below() -> None:
    image, labels = photo(20, 40)
    settings = LabelledCropSettings(size=32, min_scale=0.5, max_scale=0.5, flip=False, colour_jitter=False)
    crop = crop_with_labels(image, labels, settings, np.random.default_rng(0))
    assert not crop.padding[:16].any()
    assert crop.padding[16:].all()


def test_scales_are_steps_between_their_ends() -> None:
    image, labels = photo(40, 40)
    settings = LabelledCropSettings(
        size=80, base_short_side=40, max_scale=1.5, flip=False, colour_jitter=False
    )
    rng = np.random.default_rng(0)
    sides = {int((~crop_with_labels(image, labels, settings, rng).padding[0]).sum()) for _ in range(300)}
    assert sides == {round(40 * scale / 10) for scale in range(5, 16)}


def test_a_crop_without_a_valid_class_is_drawn_again() -> None:
    image, labels = photo(64, 64)
    labels[:] = IGNORE_INDEX
    labels[:6, :6] = 3
    crop = LabelledCropSettings(
        size=16, min_scale=2.0, max_scale=2.0, flip=False, colour_jitter=False, max_attempts=500
    )
    for seed in range(5):
        found = crop_with_labels(image, labels, crop, np.random.default_rng(seed))
        assert (found.label_map == 3).any()
    only = np.array([True, False, False, False])
    never = crop_with_labels(image, labels, PLAIN, np.random.default_rng(0), valid=only)
    assert never.image.shape == (32, 32, 3)  # after the last attempt it is taken as it is
    labels[20:] = 0
    again = crop_with_labels(image, labels, crop, np.random.default_rng(0), valid=only)
    assert (again.label_map == 0).any()


def test_flipping_mirrors_image_labels_and_nothing_else() -> None:
    image, labels = photo(32, 32)
    whole = {"size": 32, "min_scale": 1.0, "max_scale": 1.0, "colour_jitter": False}
    flips = set()
    for seed in range(12):
        crop = crop_with_labels(image, labels, LabelledCropSettings(**whole), np.random.default_rng(seed))
        flipped = crop.label_map[0, 0] == 1
        flips.add(bool(flipped))
        assert np.array_equal(crop.label_map, labels[:, ::-1] if flipped else labels)
        assert np.array_equal(crop.image, image[:, ::-1] if flipped else image)
    assert flips == {True, False}


def test_colours_change_but_labels_and_padding_do_not() -> None:
    image, labels = photo(20, 40)
    jittered = LabelledCropSettings(size=32, flip=False)
    pairs = [
        [crop_with_labels(image, labels, how, np.random.default_rng(seed)) for how in (PLAIN, jittered)]
        for seed in range(10)
    ]
    assert any(not np.array_equal(plain.image, changed.image) for plain, changed in pairs)
    for plain, changed in pairs:
        assert np.array_equal(plain.label_map, changed.label_map)
        assert (changed.image[changed.padding] == 128).all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"settings of crops with labels: found size = 0"):
        LabelledCropSettings(size=0)
    with pytest.raises(InputError, match=r"scales 2–1;"):
        LabelledCropSettings(size=8, min_scale=2.0, max_scale=1.0)


def test_corners_on_a_lattice_give_few_squares() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    settings = LabelledCropSettings(
        size=32, base_short_side=40, min_scale=1.0, max_scale=1.0, colour_jitter=False, position_step=8
    )
    labels = np.arange(40 * 56, dtype=np.uint16).reshape(40, 56)
    found = {}
    for _ in range(300):
        crop = crop_with_labels(image, labels, settings, rng)
        found[crop.image.tobytes()] = divmod(int(crop.label_map.min()), 56)
    assert len(found) == 2 * 2 * 4  # two rows and four columns of corners, mirrored or not
    assert set(found.values()) == {(top, left) for top in (0, 8) for left in (0, 8, 16, 24)}


@pytest.mark.parametrize(
    ("changes", "repeats"),
    [
        ({}, True),
        ({"flip": False}, True),
        ({"position_step": 1}, False),
        ({"colour_jitter": True}, False),
        ({"min_scale": 0.5}, False),
    ],
)
def test_settings_know_whether_squares_come_again(changes: dict, repeats: bool) -> None:
    few = {"size": 32, "min_scale": 1.0, "max_scale": 1.0, "colour_jitter": False, "position_step": 8}
    assert LabelledCropSettings(**{**few, **changes}).repeats is repeats
