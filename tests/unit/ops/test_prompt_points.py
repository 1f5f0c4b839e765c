"""The worked examples E1 to E6 of Algorithm 1, and its invariants."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lexiseg.ops.prompt_points import binarise, points_to_pixels, prompt_points, stretch

INF = float("inf")


def grid(*filled: tuple[slice | int, slice | int]) -> np.ndarray:
    mask = np.zeros((5, 5), bool)
    for place in filled:
        mask[place] = True
    return mask


EVERY = slice(None)
E2 = [((2, 2), 4), ((1, 1), 1), ((1, 2), 1), ((1, 3), 1), ((2, 1), 1)]
E5 = [((2, x), 1) for x in range(5)]
E6 = [((1, 1), 1), ((1, 2), 1), ((2, 1), 1), ((2, 2), 1), ((4, 4), 1)]
EXAMPLES = {
    "E1": (
        grid((EVERY, EVERY)),
        [((0, 0), INF), ((4, 4), 32), ((0, 4), 16), ((4, 0), 16), ((2, 2), 8)],
        [((2, 2), 9), ((1, 1), 2), ((1, 3), 2), ((3, 1), 2), ((3, 3), 2)],
    ),
    "E2": (grid((slice(1, 4), slice(1, 4))), E2, E2),
    "E3": (
        grid((slice(0, 2), slice(0, 2)), (slice(2, 4), EVERY)),
        [((0, 0), 4), ((2, 0), 4), ((0, 1), 1), ((1, 0), 1), ((1, 1), 1)],
        [((2, 1), 2), ((0, 0), 1), ((0, 1), 1), ((1, 0), 1), ((1, 1), 1)],
    ),
    "E4": (
        grid((slice(0, 3), EVERY)),
        [((0, 0), 9), ((0, 3), 9), ((1, 1), 2), ((1, 4), 2), ((0, 1), 1)],
        [((1, 1), 4), ((1, 3), 4), ((0, 0), 1), ((0, 1), 1), ((0, 2), 1)],
    ),
    "E5": (grid((2, EVERY)), E5, E5),
    "E6": (grid((slice(1, 3), slice(1, 3)), (4, 4)), E6, E6),
}


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_example(name, outside):
    foreground, literal, framed = EXAMPLES[name]
    points, squares = prompt_points(foreground, 5, outside_is_background=outside)
    found = [(tuple(point), square) for point, square in zip(points.tolist(), squares.tolist(), strict=True)]
    assert found == (framed if outside else literal)


def test_a_sixth_point_of_e5_does_not_exist():
    assert len(prompt_points(EXAMPLES["E5"][0], 6)[0]) == 5


def test_no_foreground_gives_no_point():
    points, squares = prompt_points(np.zeros((4, 6), bool))
    assert points.shape == (0, 2)
    assert squares.shape == (0,)


MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def plainly(foreground, num_points, outside):
    """The algorithm as printed: distances to every member of the growing set."""
    height, width = foreground.shape
    reach = range(-1, max(height, width) + 1) if outside else range(0)
    known = [tuple(p) for p in np.argwhere(~foreground)]
    known += [(y, x) for y in reach for x in reach if y in (-1, height) or x in (-1, width)]
    chosen = []
    for _ in range(num_points):
        best, place = 0.0, None
        for y, x in np.argwhere(foreground).tolist():
            near = min(((y - a) ** 2 + (x - b) ** 2 for a, b in known), default=INF)
            if near > best:
                best, place = near, (y, x)
        if place is None:
            break
        known.append(place)
        chosen.append(place)
    return chosen


@given(MASKS, st.integers(1, 6), st.booleans())
def test_it_is_the_algorithm_as_printed(foreground, num_points, outside):
    points, _ = prompt_points(foreground, num_points, outside_is_background=outside)
    assert [tuple(point) for point in points.tolist()] == plainly(foreground, num_points, outside)


@given(MASKS, st.integers(1, 8), st.booleans())
def test_points_are_distinct_foreground_and_ever_nearer(foreground, num_points, outside):
    points, squares = prompt_points(foreground, num_points, outside_is_background=outside)
    assert len({tuple(point) for point in points.tolist()}) == len(points)
    assert foreground[points[:, 0], points[:, 1]].all()
    assert all(before >= after for before, after in pairwise(squares))
    assert len(points) == min(num_points, np.count_nonzero(foreground))


@given(MASKS, st.integers(0, 5), st.integers(0, 5))
def test_a_mask_moved_inside_a_larger_canvas_moves_its_points(foreground, down, right):
    framed = np.pad(foreground, 1)
    moved = np.pad(foreground, ((1 + down, 1), (1 + right, 1)))
    assert np.array_equal(prompt_points(moved)[0], prompt_points(framed)[0] + [down, right])


ATTENTION = np.array([[0, 1, 2, 1], [1, 4, 6, 2], [2, 6, 8, 3], [0, 2, 3, 1]], np.float32) / 8


def test_thresholds_of_the_worked_map():
    assert [np.count_nonzero(limit < ATTENTION) for limit in (0.5, 0.4, ATTENTION.mean())] == [3, 4, 6]
    kept, threshold = binarise(ATTENTION, min_pixels=3)
    assert (np.count_nonzero(kept), threshold) == (3, 0.5)
    kept, threshold = binarise(ATTENTION, min_pixels=4)
    assert (np.count_nonzero(kept), threshold) == (4, 0.4)
    kept, threshold = binarise(ATTENTION, min_pixels=10)
    assert (np.count_nonzero(kept), threshold) == (10, 0.2)
    assert binarise(ATTENTION, min_pixels=11) is None


def test_a_value_at_the_threshold_is_background():
    assert binarise(np.full((3, 3), 0.5, np.float32), min_pixels=1)[1] == 0.4


def test_stretching_goes_from_zero_to_one_and_a_constant_map_becomes_zeros():
    stretched = stretch(np.array([[2, 4], [3, 6]], np.float32))
    assert stretched.tolist() == [[0, 0.5], [0.25, 1]]
    assert not stretch(np.full((2, 2), 7, np.float32)).any()
    assert binarise(stretch(np.full((2, 2), 7, np.float32))) is None


def test_points_are_the_centres_of_their_cells_as_x_and_y():
    pixels = points_to_pixels(np.array([[0, 0], [3, 63]]), (64, 64), (512, 512))
    assert pixels.tolist() == [[4, 4], [508, 28]]
