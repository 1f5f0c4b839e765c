"""No command lets two runs write into one place at once: the second is refused, and the place is as one run left it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset_trees as trees
from coloured_blocks import make_data
from lexiseg.cli import main
from lexiseg.core.errors import OutputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.pack import pack_captions
from lexiseg.methods.rim.references.bank import parts_folder
from lexiseg.runs.load import MODELS
from lexiseg.scoring.store.store import PredictionStore, StoreWriter
from toy_segmenter import registered
from written_stores import image_of, manifest_of


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setitem(MODELS, "colours", registered())


def segment(out: Path, data: Path) -> tuple[object, ...]:
    return ("segment", data / "images", "--words", "red, green", "--model", "colours", "--out", out)


def predict(out: Path, data: Path) -> tuple[object, ...]:
    return ("predict", "colours", "--data", data, "--out", out)


def build(out: Path, data: Path) -> tuple[object, ...]:
    source = ("--source", "cutouts", "--from", data / "cutouts")
    return ("references", "build", *source, "--words", "leaf", "--out", out)


def make(out: Path, data: Path) -> tuple[object, ...]:
    return ("scenes", "make", out, "--num", "4", "--size", "32")


def train(out: Path, data: Path) -> tuple[object, ...]:
    return ("train", "simseg/tiny", "--run.num-steps", "1", "--out", out)


def retrain(out: Path, data: Path) -> tuple[object, ...]:
    return ("retrain", "simformer/tiny", "--out", out)


def convert(out: Path, data: Path) -> tuple[object, ...]:
    trees.voc(data / "voc", background=False)
    return ("datasets", "convert", "voc20", data / "voc", "--out", out)


@pytest.fixture
def data(tmp_path) -> Path:
    make_data(tmp_path / "data", num=2)
    image = np.full((60, 60, 4), 200, np.uint8)
    image[:20, :, 3] = 0
    (tmp_path / "data/cutouts").mkdir()
    Image.fromarray(image).save(tmp_path / "data/cutouts/leaf.png")
    return tmp_path / "data"


@pytest.mark.parametrize("command", [segment, predict, build, make, convert, train, retrain])
def test_the_second_run_is_refused_and_changes_nothing(data, tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr("lexiseg.core.folder_lock._PATIENCE", 0.1)
    out = tmp_path / "out"
    locked = parts_folder(out) if command is build else out
    with writing_alone(locked):
        assert run(*command(out, data)) == 2
        assert list(locked.iterdir()) == []
    message = " ".join(capsys.readouterr().err.split())
    assert "another run that writes there now" in message
    assert "choose another folder" in message


@pytest.mark.parametrize("command", [segment, predict, build, make, convert])
def test_the_same_command_works_afterwards(data, tmp_path, command):
    assert run(*command(tmp_path / "out", data)) == 0


def test_two_writers_of_one_shard_are_kept_apart_and_those_of_two_are_not(tmp_path):
    manifest = manifest_of(["a", "b"], ["x", "y"])
    with StoreWriter(tmp_path, manifest) as writer:
        writer.append(image_of("x", None, [[0, 1]]))
        with pytest.raises(Exception, match=r"shard-000\.runs: found another run that writes this shard"):
            StoreWriter(tmp_path, manifest)
        with StoreWriter(tmp_path, manifest, shard=1) as other:
            assert other.done == {"x"}
            other.append(image_of("y", None, [[0, 1]]))
        with pytest.raises(Exception, match="another vocabulary"):
            StoreWriter(tmp_path, manifest_of(["a", "c"], ["x", "y"]), shard=2)
    assert PredictionStore(tmp_path).stems == ["x", "y"]
    StoreWriter(tmp_path, manifest).close()


def test_packing_twice_at_once_leaves_one_of_them_whole(tmp_path):
    pytest.importorskip("webdataset")
    for name, colour in (("first", "red"), ("second", "blue")):
        (tmp_path / name / "images").mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), colour).save(tmp_path / name / f"images/{number}.png")
        lines = "".join(f"{number}\t{colour}\n" for number in range(3))
        (tmp_path / name / "captions.tsv").write_text(lines)
    sources = [open_caption_source(str(tmp_path / name)) for name in ("first", "second")]
    packed = []

    def meanwhile() -> None:
        if not packed:
            packed.append(1)
            pack_captions(sources[1], tmp_path / "out")

    with pytest.raises(OutputError):
        pack_captions(sources[0], tmp_path / "out", advance=meanwhile)
    written = open_caption_source(str(tmp_path / "out"))
    assert {caption for index in range(3) for caption in written.read(index).captions} == {"blue"}


def test_a_killed_run_leaves_a_folder_that_the_next_one_goes_on_in(data, tmp_path):
    """Kill a process while it writes, without any chance to clean up."""
    out = tmp_path / "out"
    code = (
        "import os, signal, sys\n"
        "from lexiseg.core.segmentation import Segmentation\n"
        "from lexiseg.runs.load import MODELS\n"
        "from toy_segmenter import registered\n"
        "MODELS['colours'] = registered()\n"
        "save = Segmentation.save\n"
        "def killed(self, *given, **named):\n"
        "    save(self, *given, **named)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Segmentation.save = killed\n"
        "from lexiseg.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    fixtures = str(Path(__file__).parents[1] / "fixtures")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([fixtures, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code, *map(str, segment(out, data))]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert run(*segment(out, data)) == 0
    assert len(list(out.glob("*.json"))) == 2
