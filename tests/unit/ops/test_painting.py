import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.ops.painting import paint_regions


def boxes(seed, num, shape=(30, 40)):
    rng = np.random.default_rng(seed)
    masks = np.zeros((num, *shape), dtype=bool)
    for mask in masks:
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[top : top + rng.integers(1, shape[0]), left : left + rng.integers(1, shape[1])] = True
    return masks


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 8), st.booleans())
def test_every_pixel_shows_the_smallest_or_cheapest_region_that_covers_it(seed, num, by_cost):
    regions = boxes(seed, num)
    costs = np.random.default_rng(seed).random(num) if by_cost else None
    keys = costs if by_cost else regions.sum(axis=(1, 2))
    painted = paint_regions(regions, costs)
    for y, x in np.ndindex(painted.shape):
        covering = np.flatnonzero(regions[:, y, x])
        expected = min(covering, key=lambda q: (keys[q], q)) if len(covering) else -1
        assert painted[y, x] == expected


def test_disjoint_regions_may_come_in_any_order():
    labels = np.arange(1200).reshape(30, 40) % 7
    regions = np.stack([labels == label for label in range(7)])
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    np.testing.assert_array_equal(paint_regions(regions), labels)
    np.testing.assert_array_equal(order[paint_regions(regions[order])], labels)


def test_of_nested_regions_the_smaller_shows_wherever_it_stands_in_the_list():
    whole, part = np.ones((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    part[2:5, 3:7] = True
    np.testing.assert_array_equal(paint_regions(np.stack([whole, part])), part.astype(int))
    np.testing.assert_array_equal(paint_regions(np.stack([part, whole])), 1 - part)


def test_of_equal_regions_the_earlier_shows_and_nothing_shows_where_there_is_none():
    same = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(paint_regions(np.stack([same, same])), np.where(same, 0, -1))
    assert (paint_regions(np.zeros((0, 4, 6), dtype=bool)) == -1).all()
