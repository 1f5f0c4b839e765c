import json

import pytest
from PIL import Image

from lexiseg.cli import main
from lexiseg.runs.load import MODELS
from toy_segmenter import registered


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())


@pytest.fixture
def photo(tmp_path):
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_pixels_are_explained_as_json_text_and_a_sheet(photo, tmp_path, capsys):
    command = ("explain", photo, "--model", "colours", "--words", "red, blue <b>, blue", "--point", "5,5")
    assert (
        run(*command, "--point", "60,20", "--json", tmp_path / "why.json", "--out", tmp_path / "why.html")
        == 0
    )
    capsys.readouterr()
    left, right = json.loads((tmp_path / "why.json").read_text())
    assert (left["label"], right["label"]) == ("red", "blue")
    assert left["point"] == [5, 5]
    assert left["margin"] > 0
    page = (tmp_path / "why.html").read_text()
    assert page.count("<section") == 2
    assert "blue &lt;b&gt;" in page
    assert "<b>" not in page
    assert "http" not in page
    assert run(*command) == 0
    assert "pixel 5,5: red, ahead of" in capsys.readouterr().out


def test_without_a_point_the_largest_regions_are_explained(photo, tmp_path, capsys):
    assert run("explain", photo, "--model", "colours", "--words", "red, blue") == 0
    printed = capsys.readouterr().out
    assert "red, ahead of blue" in printed
    assert "blue, ahead of red" in printed
    out = tmp_path / "out"
    assert run("segment", photo, "--model", "colours", "--words", "red, blue", "--explain", "--out", out) == 0
    assert (out / "photo.explain.html").read_text().count("<section") == 2


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--point", "64,0"), "the point (64, 0) in an image of 64×32"),
        (("--point", "a,b"), "'a,b'"),
        (("--point", "1"), "'1'"),
        (("--words", "red", "--classes-file", "x"), "both --words and --classes-file"),
    ],
)
def test_what_cannot_be_explained_is_said(photo, capsys, options, found):
    words = () if "--words" in options else ("--words", "red, blue")
    assert run("explain", photo, "--model", "colours", *words, *options) == 2
    assert found in capsys.readouterr().err
