import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.data.augmentation.random_erasing import RandomErasing, random_erase

IMAGE = np.full((60, 80, 3), 7, np.uint8)


def test_a_quarter_of_the_images_lose_a_rectangle_of_allowed_area_to_noise():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(2000):
        found = random_erase(IMAGE, rng, RandomErasing())
        if found is IMAGE:
            continue
        rows, columns = np.nonzero((found != 7).any(2))
        box = found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        shares.append(box.shape[0] * box.shape[1] / (60 * 80))
        if box.size > 1500:
            assert box.std() > 30, "noise, not one colour"
    assert len(shares) / 2000 == pytest.approx(0.25, abs=0.03)
    assert min(shares) > 0.015
    assert max(shares) < 0.36
    assert (IMAGE == 7).all()


def test_the_noise_is_that_of_normalised_pixels():
    found = random_erase(
        np.zeros((400, 400, 3), np.uint8), np.random.default_rng(1), RandomErasing(chance=1.0)
    )
    noise = found[found.any(2)]
    np.testing.assert_allclose(noise.mean(0), [123.7, 116.3, 103.5], atol=4)


def test_never_and_always():
    rng = np.random.default_rng(0)
    assert all(random_erase(IMAGE, rng, RandomErasing(chance=0.0)) is IMAGE for _ in range(50))
    assert all(random_erase(IMAGE, rng, RandomErasing(chance=1.0)) is not IMAGE for _ in range(50))


def test_an_image_too_small_for_any_rectangle_stays():
    one = np.zeros((1, 1, 3), np.uint8)
    assert random_erase(one, np.random.default_rng(0), RandomErasing(chance=1.0)) is one


@pytest.mark.parametrize(
    "wrong", [{"chance": 1.5}, {"min_area": 0.0}, {"min_area": 0.5}, {"min_aspect": 0.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="setting up random erasing: found"):
        RandomErasing(**wrong)
