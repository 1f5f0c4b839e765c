"""The worked examples F1 to F3 of the fusing rule, its readings by the definition, and its invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.ops.mask_fusing import fuse_masks, fused_groups, pack_masks

READINGS = ("greedy", "transitive", "one_pass")
SHAPE = (70, 130)  # more than one tile each way, not a multiple


def pixels(*spans):
    return [number for first, last in spans for number in range(first, last + 1)]


def masks_of(*sets):
    masks = np.zeros((len(sets), SHAPE[0] * SHAPE[1]), dtype=bool)
    for mask, numbers in zip(masks, sets, strict=True):
        mask[np.array(numbers) * 29 % mask.size] = True  # any layout works: spread over the tiles
    return masks.reshape(-1, *SHAPE)


F1 = masks_of(
    pixels((1, 19), (101, 110)), pixels((1, 20)), pixels((2, 20), (201, 210)), pixels((101, 109), (301, 301))
)
F2 = masks_of(pixels((1, 20)), pixels((1, 19), (21, 30)), pixels((20, 29)))
F3 = masks_of(pixels((1, 20)), pixels((1, 10)), pixels((1, 10), (31, 50)))


def areas(regions):
    return sorted((int(region.sum()) for region in regions), reverse=True)


@pytest.mark.parametrize(
    ("masks", "reading", "groups", "sizes"),
    [
        (F1, "transitive", [[0, 1, 2], [3]], [40, 10]),
        (F1, "greedy", [[0, 1], [2], [3]], [30, 29, 10]),
        (F1[[2, 0, 1, 3]], "greedy", [[0, 2], [1], [3]], [30, 29, 10]),  # C before A: B joins C
        (F2, "transitive", [[0, 1], [2]], [30, 10]),
        (F2, "greedy", [[0, 1, 2]], [30]),
        (F2[[2, 0, 1]], "one_pass", [[0], [1, 2]], [30, 10]),
        (F2, "one_pass", [[0, 1, 2]], [30]),
        (F3, "transitive", [[0, 1, 2]], [40]),
        (F3, "greedy", [[0], [1, 2]], [30, 20]),
    ],
)
def test_worked_examples(masks, reading, groups, sizes):
    assert fused_groups(masks, reading=reading) == groups
    assert areas(fuse_masks(masks, reading=reading)) == sizes


def test_nine_tenths_exactly_is_not_more_than_nine_tenths():
    for tenth in (1, 2, 3, 7, 11, 40):
        masks = masks_of(pixels((1, 30 * tenth)), pixels((21 * tenth + 1, 31 * tenth)))  # 9/10 of the smaller
        assert fused_groups(masks) == [[0], [1]]
        masks = masks_of(pixels((1, 30 * tenth + 1)), pixels((21 * tenth + 1, 31 * tenth)))
        assert fused_groups(masks) == [[0, 1]]


def naive(masks, reading, threshold, limit=1.0):
    """Follow the words of the three readings with sets of pixels."""
    sets = [frozenset(np.flatnonzero(mask).tolist()) for mask in masks]

    def belong(left, right):
        fits = max(len(left), len(right)) <= limit * masks[0].size
        return (
            fits
            and min(len(left), len(right)) > 0
            and len(left & right) / min(len(left), len(right)) > threshold
        )

    live = [(index, [index], points) for index, points in enumerate(sets) if points]
    if reading == "transitive":
        groups = [{index} for index, _, _ in live]
        for i, _, left in live:
            for j, _, right in live:
                if i < j and belong(left, right):
                    joined = [group for group in groups if i in group or j in group]
                    groups = [group for group in groups if group not in joined] + [set().union(*joined)]
        return sorted(sorted(group) for group in groups)
    if reading == "one_pass":
        regions = []
        for index, _, points in live:
            for region in regions:
                if belong(region[1], points):
                    region[0].append(index)
                    region[1] = region[1] | points
                    break
            else:
                regions.append([[index], points])
        return sorted(sorted(group) for group, _ in regions)
    while True:
        live.sort(key=lambda item: (-len(item[2]), item[0]))
        pairs = ((a, b) for i, a in enumerate(live) for b in live[i + 1 :])
        pair = next(((a, b) for a, b in pairs if belong(a[2], b[2])), None)
        if pair is None:
            return sorted(sorted(group) for _, group, _ in live)
        live = [item for item in live if item not in pair]
        live.append((pair[0][0], pair[0][1] + pair[1][1], pair[0][2] | pair[1][2]))


def random_boxes(seed, num, shape=SHAPE):
    rng = np.random.default_rng(seed)
    masks = np.zeros((num, *shape), dtype=bool)
    for mask in masks:
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[top : top + rng.integers(0, shape[0]), left : left + rng.integers(1, shape[1])] = True
        if rng.random() < 0.3:
            mask &= rng.random(shape) < 0.9
    return masks


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10**6),
    st.integers(0, 14),
    st.sampled_from(READINGS),
    st.sampled_from([0.3, 0.5, 0.9]),
    st.sampled_from([1.0, 0.4]),
)
def test_every_reading_follows_its_words(seed, num, reading, threshold, limit):
    masks = random_boxes(seed, num)
    found = fused_groups(masks, reading=reading, threshold=threshold, largest_absorber=limit)
    assert found == (naive(masks, reading, threshold, limit) if num else [])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from(READINGS))
def test_fusing_keeps_the_union_adds_no_region_and_greedy_twice_is_greedy_once(seed, num, reading):
    masks = random_boxes(seed, num)
    regions = fuse_masks(masks, reading=reading, threshold=0.6)
    np.testing.assert_array_equal(regions.any(axis=0), masks.any(axis=0))
    assert len(regions) <= num
    if reading == "greedy":
        again = fuse_masks(regions, threshold=0.6)
        assert sorted(map(bytes, again)) == sorted(map(bytes, regions))


@pytest.mark.parametrize("reading", READINGS)
def test_identical_masks_may_change_places(reading):
    masks = random_boxes(3, 6)
    masks = masks[[0, 1, 1, 2, 3, 4, 1, 5]]
    swapped = masks[[0, 6, 2, 3, 4, 5, 1, 7]]
    assert fused_groups(masks, reading=reading) == fused_groups(swapped, reading=reading)


@pytest.mark.parametrize("reading", READINGS)
def test_a_threshold_of_one_fuses_nothing_not_even_equal_masks(reading):
    masks = np.concatenate([F1, F1])
    assert len(fuse_masks(masks, reading=reading, threshold=1.0)) == 8


def test_a_mask_of_the_whole_scene_swallows_everything_unless_it_may_not():
    masks = np.concatenate([np.ones((1, *SHAPE), dtype=bool), F1])
    assert len(fuse_masks(masks)) == 1
    assert fused_groups(masks, largest_absorber=0.8) == [[0], *([i + 1 for i in g] for g in fused_groups(F1))]


def test_empty_masks_and_no_masks_give_no_region():
    assert fused_groups(np.zeros((2, *SHAPE), dtype=bool)) == []
    assert fuse_masks(np.zeros((0, 5, 5), dtype=bool)).shape == (0, 5, 5)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 140), st.integers(1, 140), st.integers(0, 10**6), st.floats(0, 1))
def test_masks_of_any_size_overlap_as_their_pixels_do(height, width, seed, threshold):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, height, width)) < rng.choice([0.1, 0.5, 0.99])
    packed = pack_masks(masks)
    assert packed.areas.tolist() == [int(mask.sum()) for mask in masks]
    share = (masks[0] & masks[1]).sum() / max(1, packed.areas.min())
    together = bool(packed.areas.min() and share > threshold)
    empty = (packed.areas == 0).sum()
    assert len(fused_groups(masks, threshold=threshold)) == 2 - empty - together
