import pytest

from lexiseg.cli.references import GenerationCost, generation_cost
from lexiseg.core.errors import InputError


@pytest.mark.parametrize(
    ("num_classes", "images", "steps", "passes"),
    [
        (20, 1_000, 50_000, 100_000),
        (21, 1_050, 52_500, 105_000),
        (59, 2_950, 147_500, 295_000),
        (80, 4_000, 200_000, 400_000),
        (150, 7_500, 375_000, 750_000),
        (171, 8_550, 427_500, 855_000),
        (459, 22_950, 1_147_500, 2_295_000),
        (847, 42_350, 2_117_500, 4_235_000),
    ],
)
def test_the_table_of_vocabularies(num_classes, images, steps, passes):
    assert generation_cost(num_classes) == GenerationCost(images=images, steps=steps, passes=passes)


def test_own_numbers_and_no_guidance():
    cost = generation_cost(3, images_per_class=10, steps_per_image=25, guided=False)
    assert (cost.images, cost.steps, cost.passes) == (30, 750, 750)


def test_negative_numbers_are_refused():
    with pytest.raises(InputError, match=r"found -1 classes, 50 images, 50 steps; expected numbers of zero"):
        generation_cost(-1)
