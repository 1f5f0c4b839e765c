from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import InputError
from lexiseg.data.augmentation import rand_augment as module
from lexiseg.data.augmentation.rand_augment import NAMES, RandAugment, rand_augment


@pytest.fixture
def image() -> Image.Image:
    coarse = np.random.default_rng(0).integers(30, 200, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)


def watched(monkeypatch) -> list[tuple[str, float]]:
    seen: list[tuple[str, float]] = []

    def watch(name):
        def operation(image, strength):
            seen.append((name, strength))
            return image

        return operation

    monkeypatch.setattr(module, "OPERATIONS", {name: watch(name) for name in NAMES})
    monkeypatch.setattr(module, "_add_to_dark", watch("solarize_add"))
    return seen


def test_two_operations_half_the_time_each_all_names_alike_and_strengths_near_nine_tenths(monkeypatch, image):
    seen, rng = watched(monkeypatch), np.random.default_rng(0)
    for _ in range(4000):
        rand_augment(image, rng, RandAugment())
    assert len(seen) == pytest.approx(4000, rel=0.05)
    counts = Counter(name for name, _ in seen)
    assert set(counts) == set(NAMES)
    assert max(counts.values()) < 1.4 * min(counts.values())
    strengths = np.array([strength for _, strength in seen])
    assert np.abs(strengths).mean() == pytest.approx(0.9, abs=0.01)
    assert np.abs(strengths).std() == pytest.approx(0.05, abs=0.01)
    assert np.abs(strengths).max() <= 1
    assert (strengths > 0).mean() == pytest.approx(0.5, abs=0.05)


def test_the_same_numbers_give_the_same_image_and_the_given_one_is_left(image):
    before = np.array(image)
    first, second = (
        np.array(rand_augment(image, np.random.default_rng(5), RandAugment(chance=1.0))) for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert first.shape == before.shape
    assert not np.array_equal(first, before)
    assert np.array_equal(np.array(image), before)


def test_none_of_the_operations_leaves_the_image(image):
    assert rand_augment(image, np.random.default_rng(0), RandAugment(num_operations=0)) is image


def test_adding_to_dark_pixels_leaves_the_bright_ones():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (2, 1, 3)))
    found = np.array(module._add_to_dark(ramp, -1.0))[0, :, 0]
    assert np.array_equal(found[:128], np.minimum(np.arange(128) + 110, 255))
    assert np.array_equal(found[128:], np.arange(128, 256))


@pytest.mark.parametrize(
    "wrong", [{"magnitude": 11.0}, {"chance": 2.0}, {"num_operations": -1}, {"deviation": -1.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match="RandAugment: found"):
        RandAugment(**wrong)
