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
