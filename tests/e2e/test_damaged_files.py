"""One damaged file costs itself: the others are done, it is named at the end, and the exit code says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coloured_blocks import make_data
from lexiseg.cli import main
from lexiseg.core.errors import DatasetError
from lexiseg.data.folder import FolderDataset
from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.runs.load import MODELS
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.store.store import PredictionStore
from toy_segmenter import ColourSegmenter, registered


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())
    monkeypatch.setenv("COLUMNS", "200")


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("not an image")


def other_size(file: Path) -> None:
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(file)


DAMAGES = [
    ("images/2.png", cut),
    ("images/2.png", empty),
    ("images/2.png", text),
    ("labels/2.png", cut),
    ("labels/2.png", empty),
    ("labels/2.png", text),
    ("labels/2.png", other_size),
]


@pytest.fixture(params=DAMAGES, ids=[f"{file}-{how.__name__}" for file, how in DAMAGES])
def damaged(request, tmp_path) -> Path:
    make_data(tmp_path / "data", num=4)
    file, how = request.param
    how(tmp_path / "data" / file)
    return tmp_path / "data"


@pytest.mark.exhaustive
def test_predict_goes_on_names_it_and_tries_it_again(damaged, tmp_path, capsys):
    command = ("predict", "colours", "--data", damaged, "--out", tmp_path / "store")
    assert run(*command) == 1
    printed = capsys.readouterr()
    assert "3 predicted now, 3 of 4 images" in printed.out
    assert "  failed: 2: reading" in printed.err
    store = PredictionStore(tmp_path / "store")
    assert list(store.failed) == store.missing == ["2"]
    assert run("score", tmp_path / "store") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "1 of 4 images missing (2); reading" in message
    assert "Mend or remove the files" in message
    partial = ("score", tmp_path / "store", "--partial", "--json", tmp_path / "s.json")
    assert run(*partial) == 0
    assert "could not be predicted: 2: reading" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "s.json").read_text())["failed"]) == ["2"]
    assert run(*command) == 1
    assert "0 predicted now, 3 of 4 images" in capsys.readouterr().out


def test_evaluate_goes_on_and_says_how_many_were_scored(damaged, tmp_path, capsys):
    command = ("evaluate", "colours", "--data", damaged, "--json", tmp_path / "e.json")
    assert run(*command) == 1
    assert "could not be predicted: 2: reading" in capsys.readouterr().out
    content = json.loads((tmp_path / "e.json").read_text())
    assert (content["num_images"], content["num_missing"], list(content["failed"])) == (3, 1, ["2"])
    assert run(*command, "--partial") == 0


def test_evaluate_in_python_refuses_and_names_it_unless_a_part_will_do(damaged):
    dataset = FolderDataset(damaged)
    with pytest.raises(DatasetError, match=r"1 of 4 images that could not be read: 2: reading"):
        evaluate(ColourSegmenter(), dataset)
    assert evaluate(ColourSegmenter(), dataset, partial=True).num_images == 3


def test_what_was_mended_is_done_by_the_same_command(tmp_path, capsys):
    make_data(tmp_path / "data", num=4)
    image = tmp_path / "data/images/2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:40].ljust(len(whole), b"\0"))  # the same name and size: the same data set
    command = ("predict", "colours", "--data", tmp_path / "data", "--out", tmp_path / "store")
    assert run(*command) == 1
    image.write_bytes(whole)
    assert run(*command) == 0
    store = PredictionStore(tmp_path / "store")
    assert (store.missing, store.failed) == ([], {})


def test_no_image_at_all_that_can_be_read_is_an_error(tmp_path, capsys):
    make_data(tmp_path / "data", num=2)
    for file in (tmp_path / "data/images").iterdir():
        empty(file)
    assert run("evaluate", "colours", "--data", tmp_path / "data", "--partial") == 2
    assert "2 of 2 images that could not be read" in capsys.readouterr().err


# References

NAMES = ("leaf", "sky", "tomato")


@pytest.fixture
def images(tmp_path) -> Path:
    """Make three classes of two images each, as cut-outs and as folders with masks."""
    generator = np.random.default_rng(0)
    (tmp_path / "cutouts").mkdir()
    table = []
    for name in NAMES:
        (tmp_path / "folder" / name / "masks").mkdir(parents=True)
        for number in range(2):
            image = generator.integers(0, 255, (80, 80, 4), np.uint8)
            image[..., 3] = 0
            image[10:60, 20 : 60 + number, 3] = 255
            Image.fromarray(image).save(tmp_path / f"cutouts/{name}{number}.png")
            Image.fromarray(image[..., :3]).save(tmp_path / f"folder/{name}/{number}.png")
            Image.fromarray(image[..., 3]).save(tmp_path / f"folder/{name}/masks/{number}.png")
            table.append(f"{name}{number}.png\t{name}")
    (tmp_path / "cutouts/names.tsv").write_text("\n".join(table))
    return tmp_path


@pytest.mark.exhaustive("how", "file")
@pytest.mark.parametrize("how", [cut, empty, text])
@pytest.mark.parametrize(
    ("source", "file", "origin"),
    [
        ("cutouts", "cutouts/sky0.png", "sky0.png"),
        ("folder", "folder/sky/0.png", "sky/0.png"),
        ("folder", "folder/sky/masks/0.png", "sky/0.png"),
    ],
)
def test_a_bank_keeps_what_can_be_read(images, capsys, source, file, origin, how):
    how(images / file)
    out = images / "a.bank"
    words = ",".join(NAMES)
    command = ("references", "build", "--source", source, "--from", images / source, "--words", words)
    assert run(*command, "--out", out) == 1
    printed = capsys.readouterr()
    assert "3 classes built" in printed.out
    assert f"  failed: {origin}: " in printed.err
    bank = ReferenceBank(out)
    assert bank.names == NAMES
    assert len(bank.origins) == 5


def test_a_class_of_damaged_images_only_does_not_cost_the_others(images, capsys):
    for number in range(2):
        empty(images / f"folder/sky/{number}.png")
    command = ("references", "build", "--source", "folder", "--from", images / "folder")
    assert run(*command, "--words", ",".join(NAMES), "--out", images / "a.bank") == 1
    message = capsys.readouterr().err
    assert "no reference for sky: 100% of 2" in message
    assert ReferenceBank(images / "a.bank").names == ("leaf", "tomato")
