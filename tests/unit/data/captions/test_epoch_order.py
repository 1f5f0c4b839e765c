import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.data.captions.epoch_order import EpochOrder

sizes_of_shards = st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any)


@settings(max_examples=60, deadline=None)
@given(sizes=sizes_of_shards, window=st.integers(1, 40), epoch=st.integers(0, 9), seed=st.integers(0, 5))
def test_an_epoch_has_every_record_once(sizes: list[int], window: int, epoch: int, seed: int) -> None:
    order = EpochOrder(sizes, window=window, seed=seed)
    assert sorted(order.record_at(epoch, place) for place in range(sum(sizes))) == list(range(sum(sizes)))


@settings(max_examples=30, deadline=None)
@given(sizes=sizes_of_shards, window=st.integers(1, 40), places=st.lists(st.integers(0, 10**6), max_size=20))
def test_a_place_does_not_depend_on_what_was_asked_before(
    sizes: list[int], window: int, places: list[int]
) -> None:
    used = EpochOrder(sizes, window=window, seed=0)
    for number in places:
        epoch, place = divmod(number, sum(sizes))
        fresh = EpochOrder(sizes, window=window, seed=0)
        assert used.record_at(epoch, place) == fresh.record_at(epoch, place)


def test_records_near_in_time_lie_in_few_shards() -> None:
    order = EpochOrder([100] * 48, window=300, seed=0)
    shards = [
        {order.record_at(0, start + place) // 100 for place in range(300)} for start in range(0, 4800, 300)
    ]
    assert max(map(len, shards)) <= 8
    assert len(set().union(*shards)) == 48


def test_a_window_mixes_its_shards() -> None:
    order = EpochOrder([100] * 6, window=600, seed=0)
    first = [order.record_at(0, place) // 100 for place in range(120)]
    assert np.bincount(first, minlength=6).min() > 8


def test_a_substitute_lies_in_the_same_group() -> None:
    order = EpochOrder([10] * 8, window=20, seed=0)
    group = {order.record_at(0, place) for place in range(20)}
    rng = np.random.default_rng(0)
    assert {order.neighbour_of(0, 7, rng) for _ in range(300)} == group
