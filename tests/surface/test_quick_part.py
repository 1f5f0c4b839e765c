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


def test_ci_runs_both_parts():
    runs = re.findall(r"-m '?([\w ]+?)'?\n", (ROOT / "Makefile").read_text())
    assert runs == ["not exhaustive", "exhaustive"]
    assert re.findall(r"^make (\S+)", (ROOT / ".ci/run").read_text(), re.MULTILINE) == [
        "check", "package", "test", "test-exhaustive",
    ]  # fmt: skip
