import numpy as np
import pytest
from PIL import Image

from lexiseg.data.augmentation.auto_augment import IMAGENET_POLICY, OPERATIONS, auto_augment


@pytest.fixture
def image() -> Image.Image:
    coarse = np.random.default_rng(0).integers(30, 200, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)


def test_the_policy_is_the_papers() -> None:
    assert len(IMAGENET_POLICY) == 25
    assert IMAGENET_POLICY[0] == (("posterize", 0.4, 8), ("rotate", 0.6, 9))
    assert IMAGENET_POLICY[18] == (("shear_x", 0.6, 5), ("equalize", 1.0, 9))
    assert {name for pair in IMAGENET_POLICY for name, _, _ in pair} <= set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize("strength", [-1.0, 0.5, 1.0])
def test_every_operation_keeps_size_and_mode_and_changes_something(
    image: Image.Image, name: str, strength: float
) -> None:
    before = image.copy()
    changed = OPERATIONS[name](image, strength)
    assert (changed.size, changed.mode) == (image.size, "RGB")
    assert np.array_equal(image, before)
    assert not np.array_equal(changed, image)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"autocontrast", "invert", "equalize"}))
def test_magnitude_zero_changes_nothing(image: Image.Image, name: str) -> None:
    assert np.array_equal(OPERATIONS[name](image, 0.0), image)


def test_magnitudes_reach_the_ends_of_the_papers_ranges() -> None:
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (4, 1, 3)))
    posterized = np.unique(np.asarray(OPERATIONS["posterize"](ramp, 1.0)))
    assert len(posterized) == 16  # 4 bits
    solarized = np.asarray(OPERATIONS["solarize"](ramp, 1.0))[0, :, 0]
    assert np.array_equal(solarized, 255 - np.arange(256))  # the threshold is 0
    darker = np.asarray(OPERATIONS["brightness"](ramp, -1.0))[0, :, 0]
    assert darker[200] == pytest.approx(20, abs=1)  # 1 − 0.9


def test_geometry_fills_with_grey() -> None:
    red = Image.new("RGB", (33, 33), "red")
    moved = np.asarray(OPERATIONS["translate_x"](red, 1.0))
    assert (moved[:, -14:] == 128).all()  # 150 of 331 pixels, here 14.95
    assert (moved[:, :18] == [255, 0, 0]).all()
    assert (np.asarray(OPERATIONS["rotate"](red, 1.0))[0, 0] == 128).all()


def test_the_same_numbers_give_the_same_image_and_all_pairs_are_drawn(image: Image.Image) -> None:
    first, second = (np.asarray(auto_augment(image, np.random.default_rng(7))) for _ in range(2))
    assert np.array_equal(first, second)
    rng = np.random.default_rng(0)
    results = {np.asarray(auto_augment(image, rng)).tobytes() for _ in range(300)}
    assert len(results) > 25


def test_the_number_of_draws_does_not_depend_on_what_is_drawn(image: Image.Image) -> None:
    nothing = ((("invert", 0.0, 0), ("invert", 0.0, 0)),)
    everything = ((("rotate", 1.0, 9), ("solarize", 1.0, 9)),)
    after = []
    for policy in (nothing, everything):
        rng = np.random.default_rng(0)
        auto_augment(image, rng, policy)
        after.append(rng.random())
    assert after[0] == after[1]
