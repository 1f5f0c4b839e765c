"""The script that lets other tools read what is written: its own parts, without those tools."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lexiseg.data.formats.known_formats import FORMATS, find_annotations

sys.path.insert(0, str(Path(__file__).parents[4] / "scripts"))
try:
    import format_oracles
finally:
    sys.path.pop(0)


def test_every_tool_reads_formats_that_there_are():
    assert {name for _, formats in format_oracles.ORACLES.values() for name in formats} <= set(FORMATS)


@pytest.mark.parametrize("name", ["coco", "labelme"])
def test_files_are_written_where_a_tool_looks_for_them(tmp_path, name):
    maps = format_oracles.write_files(name, tmp_path)
    assert len(maps) == 4
    assert all(len(np.unique(labels)) == len(format_oracles.NAMES) for labels in maps.values())
    found = find_annotations(tmp_path / "data")
    assert found is not None
    assert len(found.images) == len(maps)


def test_a_wrong_pixel_lowers_both_numbers():
    labels = np.repeat(np.arange(4, dtype=np.uint16), 25).reshape(10, 10)
    wrong = labels.copy()
    wrong[0, 0] = 3
    assert format_oracles.compare({"a": labels}, {"a": labels}) == (1.0, 1.0)
    assert format_oracles.compare({"a": labels}, {"a": wrong}) == (0.99, pytest.approx(24 / 25))
    with pytest.raises(ValueError, match="images"):
        format_oracles.compare({"a": labels}, {})
