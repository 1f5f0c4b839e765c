"""CONTRIBUTING and the design page name places that are there, and every room of the source."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATHS = sorted(
    path for path in set(re.findall(r"`((?:src|tests|docs)/[\w/.]+)`", PAGE)) if "NAME" not in path
)


@pytest.mark.parametrize("path", PATHS)
def test_places_that_it_names_exist(path):
    assert (ROOT / path).exists()


def test_every_room_has_its_line():
    rooms = {room.parent.name for room in (ROOT / "src/lexiseg").glob("*/__init__.py")}
    named = {Path(path).name for path in PATHS if re.fullmatch(r"src/lexiseg/\w+/", path)}
    assert rooms == named


def test_every_target_of_the_makefile_has_a_rule_and_ci_makes_no_other():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    ruled = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([\w-]+)", makefile.partition(".PHONY")[0]))  # its list of commands
    by_ci = set(re.findall(r"^make ([\w-]+)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(phony.split()) | named | by_ci <= ruled
    assert {"check", "package", "test", "test-exhaustive"} <= by_ci
