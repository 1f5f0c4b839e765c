from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.data.published.clothing import (
    CLOTHING_NAMES,
    CLOTHING_UNSEEN,
    clothing_vocabulary,
    held_out,
    unseen_by_rule,
)

CLOTHING = Path(__file__).parents[4].parent / "shared" / "data" / "clothing"


def test_five_of_59_names_are_unseen():
    vocabulary = clothing_vocabulary()
    assert len(vocabulary) == 59
    assert {vocabulary.names[label] for label in range(59) if label not in vocabulary.seen} == set(
        CLOTHING_UNSEEN
    )


def test_the_rule_takes_every_fourth_garment_that_is_frequent_and_large_enough():
    names = ("null", "a", "b", "c", "d", "e", "rare", "small")
    images = np.array([100, 50, 40, 30, 30, 20, 19, 60])
    pixels = np.array([900, 20, 20, 20, 20, 20, 20, 1])
    assert unseen_by_rule(names, images, pixels) == ("a", "e")


def test_every_fourth_photograph_is_held_out():
    assert held_out([str(index) for index in range(9)]) == [3, 7]


def test_the_unseen_names_are_what_the_rule_gives_for_the_photographs():
    if not CLOTHING.is_dir():
        pytest.skip(f"no photographs of clothing in {CLOTHING}")
    num_images, num_pixels = np.zeros((2, 59), np.int64)
    for path in sorted((CLOTHING / "labels").glob("*.png")):
        counts = np.bincount(np.array(Image.open(path)).ravel(), minlength=59)
        num_images += counts > 0
        num_pixels += counts
    assert unseen_by_rule(CLOTHING_NAMES, num_images, num_pixels) == CLOTHING_UNSEEN
    assert tuple((CLOTHING / "classes.txt").read_text().split()) == CLOTHING_NAMES
