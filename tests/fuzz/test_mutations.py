"""The harness finds what it is for: errors that are not ours, hangs and allocations, and lets results and ours pass."""

import json
import time
from random import Random

import numpy as np
import pytest

from lexiseg.core.errors import InputError
from mutations import BadOutcomeError, fuzz, limited, mutated, mutated_json


def ours(content: object) -> None:
    raise InputError(doing="reading", found="damage", expected="none", fix="Mend it.")


def foreign(content: bytes) -> None:
    if not content.startswith(b"abcd"):
        raise KeyError("x")


def test_it_tells_our_errors_from_others(monkeypatch):
    monkeypatch.delenv(
        "LEXISEG_FUZZ_EXAMPLES", raising=False
    )  # a long run keeps what it finds; this is no finding
    assert fuzz("none", [b"abcdefgh" * 20], ours, examples=5) == 5
    with pytest.raises(BadOutcomeError, match="KeyError"):
        fuzz("none", [b"abcdefgh" * 20], foreign, examples=500)


def test_it_stops_what_hangs_and_what_takes_memory():
    with pytest.raises(TimeoutError), limited(seconds=0.1):
        time.sleep(5)
    with pytest.raises(MemoryError), limited(megabytes=50):
        np.ones(2**28)


def test_damage_is_reproducible_changes_something_and_leaves_the_seed():
    seed = {"a": [1, 2.5, "x"], "b": {"c": None}}
    before = json.dumps(seed)
    changes = [json.dumps(mutated_json(seed, Random(number))) for number in range(100)]
    assert json.dumps(seed) == before
    assert sum(change != before for change in changes) > 90
    assert len(set(changes)) > 40
    assert mutated(b"abc" * 100, Random(3)) == mutated(b"abc" * 100, Random(3)) != b"abc" * 100
    assert isinstance(mutated(b"", Random(1)), bytes)
