from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.core.errors import InputError
from lexiseg.data.augmentation.word_corruption import (
    WordCorruption,
    corrupt_units,
    corrupt_words,
    join_pieces,
)

words = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=12)


def test_100_000_words_are_corrupted_at_the_stated_rates() -> None:
    rng = np.random.default_rng(0)
    caption = " ".join(["word"] * 25)
    found: Counter[str] = Counter()
    for _ in range(4000):
        found.update(corrupt_words(caption, ["other"], rng).split())
    shares = {name: 100 * count / 100_000 for name, count in found.items()}
    assert shares["[MASK]"] == pytest.approx(10, abs=0.3)
    assert shares["other"] == pytest.approx(2, abs=0.3)
    assert 100 - sum(shares.values()) == pytest.approx(8, abs=0.3)
    assert sum(shares.values()) / 100 == pytest.approx(0.92, abs=0.003)


def test_replacements_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    everything = WordCorruption(share=1.0, mask=0.0, replace=1.0, delete=0.0)
    found = Counter(corrupt_units(["word"] * 9000, ["one", "two", "three"], rng, everything))
    assert set(found) == {"one", "two", "three"}
    assert min(found.values()) > 2800


@settings(max_examples=50, deadline=None)
@given(units=words, seed=st.integers(0, 10_000))
def test_a_caption_never_becomes_empty_nor_longer(units: list[str], seed: int) -> None:
    deleting = WordCorruption(share=0.9, mask=0.05, replace=0.05, delete=0.9)
    kept = corrupt_units(units, ["x"], np.random.default_rng(seed), deleting)
    assert 1 <= len(kept) <= len(units)
    all_deleted = corrupt_units(
        units, [], np.random.default_rng(seed), WordCorruption(share=1.0, mask=0.0, replace=0.0, delete=1.0)
    )
    assert len(all_deleted) == 1
    assert all_deleted[0] in units


@settings(max_examples=30, deadline=None)
@given(units=words, seed=st.integers(0, 10_000))
def test_words_that_stay_keep_their_order(units: list[str], seed: int) -> None:
    kept = corrupt_units(units, ["X"], np.random.default_rng(seed))
    rest = iter(units)
    assert all(word in rest for word in kept if word not in ("X", "[MASK]")) or len(kept) == 1
    assert kept == corrupt_units(units, ["X"], np.random.default_rng(seed))


def test_a_share_of_zero_changes_nothing() -> None:
    untouched = corrupt_words("a dog  on\ta mat", [], np.random.default_rng(0), WordCorruption(share=0.0))
    assert untouched == "a dog on a mat"


def test_pieces_are_joined_with_all_their_tails() -> None:
    assert join_pieces(["un", "##believ", "##ab", "##ly", "big", "##gest"]) == "unbelievably biggest"
    assert join_pieces(["##tail", "dog"]) == "tail dog"
    assert join_pieces([]) == ""


def test_no_words_to_replace_by_is_explained() -> None:
    with pytest.raises(InputError, match=r"found no words to replace by; .*set replace=0"):
        corrupt_words("a dog", [], np.random.default_rng(0))


@pytest.mark.parametrize("change", [{"share": 1.2}, {"mask": 0.9}, {"mask": -0.1, "delete": 1.0}])
def test_shares_that_do_not_add_up_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"word corruption: found .*(add up to 1|a number from 0 to 1)"):
        WordCorruption(**change)
