"""References and rim through the command line, with the embedded encoder and drawn images."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lexiseg.cli import main

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None,
    reason="the classical proposer needs scikit-image (extra rim)",
)


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cutouts")
    for index, (name, colour) in enumerate({"leaf": "green", "tomato": "red", "sky": "skyblue"}.items()):
        image = Image.new("RGBA", (96, 96))
        ImageDraw.Draw(image).ellipse((10, 10 + index, 85, 80), fill=colour)
        image.save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def bank(cutouts):
    out = cutouts.parent / "a.bank"
    words = ("--words", "leaf, tomato, sky")
    assert run("references", "build", "--source", "cutouts", "--from", cutouts, *words, "--out", out) == 0
    return out


@pytest.fixture
def photo(tmp_path):
    image = Image.new("RGB", (120, 90), "skyblue")
    ImageDraw.Draw(image).ellipse((30, 20, 80, 70), fill="red")
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_bank_is_built_once_shown_and_merged(cutouts, bank, capsys, tmp_path):
    command = ("references", "build", "--source", "cutouts", "--from", cutouts, "--out", bank)
    assert run(*command, "--words", "leaf, tomato, sky") == 0
    assert "0 classes built, 3 already there" in capsys.readouterr().out
    assert run("references", "show", bank) == 0
    assert "3 classes" in capsys.readouterr().out
    other = tmp_path / "b.bank"
    assert run(*command[:-1], other, "--words", "leaf, unicorn") == 1
    assert "no reference for unicorn: no image of that name" in capsys.readouterr().err
    assert run("references", "merge", bank, other, "--out", tmp_path / "c.bank") == 0
    assert "3 classes" in capsys.readouterr().out


def test_a_image_is_segmented_and_explained(bank, photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))  # where what was said once is noted
    arguments = ("segment", photo, "--model", bank, "--words", "leaf, tomato, sky")
    assert run(*arguments, "--explain", "--out", tmp_path / "out") == 0
    assert "reconstruction" in capsys.readouterr().err
    facts = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert facts["settings"]["method"]["ranking"] == "plackett_luce"
    sheet = (tmp_path / "out" / "photo.explain.html").read_text()
    assert "<section id=" in sheet
    assert "reference of" in sheet
    assert run(*arguments, "--explain", "--out", tmp_path / "out") == 0
    assert "1 already there" in capsys.readouterr().out


def test_rim_is_scored_like_any_model(bank, tmp_path, capsys):
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("tomato\nsky\n")
    image = Image.new("RGB", (96, 96), "skyblue")
    image.save(folder / "images" / "a.png")
    Image.fromarray(np.ones((96, 96), np.uint8)).save(folder / "labels" / "a.png")
    report = tmp_path / "report.json"
    assert run("evaluate", bank, "--data", folder, "--json", report) == 0
    assert json.loads(report.read_text())["settings"]["model"] == str(bank)


def test_what_is_missing_is_said(bank, photo, cutouts, tmp_path, capsys):
    assert run("segment", photo, "--model", "rim", "--words", "leaf") == 2
    assert "--model my.bank" in capsys.readouterr().err
    assert run("segment", photo, "--references", bank, "--words", "leaf") == 2
    assert f"Write --model {bank}, without --references" in capsys.readouterr().err
    assert run("segment", photo, "--model", bank, "--words", "leaf, moon") == 2
    assert "none for moon" in capsys.readouterr().err
    assert run("references", "build", "--source", "cutouts", "--words", "leaf", "--out", tmp_path / "x") == 2
    assert "--from PATH" in capsys.readouterr().err


def test_the_work_of_generating_references_is_counted_as_in_the_published_table(tmp_path, capsys):
    (tmp_path / "classes.txt").write_text("".join(f"thing {k}\n" for k in range(150)))
    assert run("references", "cost", "--classes-file", tmp_path / "classes.txt") == 0
    assert "7,500 images, 375,000 denoising steps, 750,000 passes" in capsys.readouterr().out
