import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiseg.ops.region_merging import merge_regions

ANY = {"max_distance": 0.5, "min_area": 0, "balance": 0.0, "max_regions": 1000}
ROW = np.array([[0, 1, 2, 3]], np.int32)


def rows(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_neighbours_that_look_alike_join_and_others_stay_apart():
    assert merge_regions(ROW, rows(0, 0.1, 5, 5.1), **ANY).tolist() == [[0, 0, 1, 1]]


def test_regions_that_do_not_touch_stay_apart_however_alike():
    assert merge_regions(ROW[:, :3], rows(0, 5, 0), **ANY).tolist() == [[0, 1, 2]]


def test_a_joined_region_is_compared_by_its_mean():
    # 0 and 0.6 join at 0.36; their mean 0.3 is 0.81 from 1.2, although 0.6 and 1.2 are 0.36 apart
    assert merge_regions(ROW[:, :3], rows(0, 0.6, 1.21), **ANY).tolist() == [[0, 0, 1]]


def test_a_region_that_is_too_small_joins_its_most_similar_neighbour():
    regions = np.array([[0, 0, 0, 1, 2, 2]], np.int32)
    assert merge_regions(regions, rows(0, 3, 4), **{**ANY, "min_area": 2}).tolist() == [[0, 0, 0, 1, 1, 1]]
    assert merge_regions(regions, rows(0, 3, 4), **ANY).tolist() == [[0, 0, 0, 1, 2, 2]]


def test_too_many_regions_join_until_they_are_not_too_many():
    merged = merge_regions(ROW, rows(0, 10, 12, 30), **{**ANY, "max_regions": 2})
    assert merged.tolist() == [[0, 0, 0, 1]]


def test_large_regions_resist_when_balanced():
    regions = np.repeat(np.arange(4, dtype=np.int32), [9, 9, 1, 1])[None]
    features = rows(0, 0.7, 3, 3.7)
    assert merge_regions(regions, features, **ANY).max() == 1
    assert merge_regions(regions, features, **{**ANY, "balance": 1.0}).max() == 2


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_region_is_whole_connected_and_numbered_without_gaps(height, width, seed, distance, balance):
    from scipy.ndimage import label

    generator = np.random.default_rng(seed)
    regions = np.arange(height * width, dtype=np.int32).reshape(height, width)
    features = generator.random((height * width, 2)).astype(np.float32)
    merged = merge_regions(
        regions, features, max_distance=distance, min_area=0, balance=balance, max_regions=1000
    )
    numbers = np.unique(merged)
    assert numbers.tolist() == list(range(len(numbers)))
    assert merged.ravel()[np.unique(merged, return_index=True)[1]].tolist() == numbers.tolist()
    assert all(label(merged == number)[1] == 1 for number in numbers)
    assert np.array_equal(features, np.random.default_rng(seed).random(features.shape).astype(np.float32))


@pytest.mark.parametrize("max_regions", [1, 3])
def test_a_image_of_one_region_stays_one(max_regions):
    regions = np.zeros((3, 4), np.int32)
    merged = merge_regions(regions, rows(1), **{**ANY, "min_area": 99, "max_regions": max_regions})
    assert np.array_equal(merged, regions)
