import itertools
import re
from pathlib import Path

import pytest

from quick_part import on_the_diagonal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (16, 29), (29, 16), (5, 2), (3, 4, 2)])
def test_every_value_of_every_list_is_in_the_quick_part_and_no_more_rows_than_that(sizes):
    table = list(itertools.product(*map(range, sizes)))
    quick = [places for places in table if on_the_diagonal(places, sizes)]
    assert [set(column) for column in zip(*quick, strict=True)] == [set(range(size)) for size in sizes]
    assert len(quick) == max(sizes)


LETTERS, NUMBERS = ["a", "b", "c"], [{"n": 1}, {"n": 2}]


@pytest.mark.exhaustive("letter", "number")
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("letter", LETTERS)
def test_rows_of_a_table_lose_the_mark_on_its_diagonal_and_nowhere_else(request, letter, number):
    places = (LETTERS.index(letter), NUMBERS.index(number))
    is_quick = request.node.get_closest_marker("exhaustive") is None
    assert is_quick == on_the_diagonal(places, (3, 2))


def test_ci_runs_both_parts():
    runs = re.findall(r"-m '?([\w ]+?)'?\n", (ROOT / "Makefile").read_text())
    assert runs == ["not exhaustive", "exhaustive"]
    assert re.findall(r"^make (\S+)", (ROOT / ".ci/run").read_text(), re.MULTILINE) == [
        "check", "package", "test", "test-exhaustive",
    ]  # fmt: skip
