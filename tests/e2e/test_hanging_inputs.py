"""A decoder that never ends costs the time limit of one input: it is named, and the command goes on with the next."""

import json
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageFile

import dataset_trees as trees
from caption_files import image_bytes, write_parquet
from coloured_blocks import make_data
from lexiseg.cli import main
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.records import InvalidRecord, RawRecord
from lexiseg.runs.load import MODELS
from toy_segmenter import registered

HANGS = (39, 33)


@pytest.fixture(autouse=True)
def endless(monkeypatch):
    """Let images of one size hang in Pillow's decoder, as one in sixty thousand damaged ones did."""
    over, load = threading.Event(), ImageFile.ImageFile.load

    def loading(image: ImageFile.ImageFile) -> object:
        if image.size == HANGS:
            over.wait(20)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", loading)
    for module in ("core.image_decoders", "data.captions.decoding"):
        monkeypatch.setattr(f"lexiseg.{module}.DECODING_SECONDS", 0.3)
    monkeypatch.setitem(MODELS, "colours", registered())
    yield
    over.set()


@pytest.fixture
def data(tmp_path) -> Path:
    """Make four images, of which one hangs."""
    make_data(tmp_path / "data", num=4)
    Image.new("RGB", HANGS).save(tmp_path / "data/images/2.png")
    Image.new("L", HANGS).save(tmp_path / "data/labels/2.png")
    lines = "".join(f"{number}\ta red thing\n" for number in range(4))
    (tmp_path / "data/captions.tsv").write_text(lines)
    return tmp_path / "data"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def segment(data: Path, out: Path) -> tuple[object, ...]:
    return ("segment", data / "images", "--words", "red, green", "--model", "colours", "--out", out)


def predict(data: Path, out: Path) -> tuple[object, ...]:
    return ("predict", "colours", "--data", data, "--split", "all", "--out", out)


def evaluate(data: Path, out: Path) -> tuple[object, ...]:
    return ("evaluate", "colours", "--data", data, "--split", "all", "--json", out / "evaluate.json")


def check(data: Path, out: Path) -> tuple[object, ...]:
    return ("captions", "check", data, "--json", out / "check.json")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("command", "told", "results"),
    [
        (segment, "no end after 0.3 s", ["0.json", "1.json", "3.json"]),
        (predict, "no end after 0.3 s", ["manifest.json"]),
        (evaluate, "no end after 0.3 s", ["evaluate.json"]),
        (check, "1 unreadable image: images#2", ["check.json"]),
    ],
)
def test_an_input_that_hangs_is_named_and_the_others_are_done(data, tmp_path, capsys, command, told, results):
    assert run(*command(data, tmp_path / "out")) == 1
    said = capsys.readouterr()
    assert told in " ".join((said.out + said.err).split())
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == results


def test_data_that_are_converted_name_the_label_file_that_hangs(tmp_path, capsys):
    trees.voc(tmp_path / "voc", background=False)
    for label in (tmp_path / "voc").rglob("SegmentationClass*/*.png"):
        Image.new("L", HANGS).save(label)
    assert run("datasets", "convert", "voc20", tmp_path / "voc", "--out", tmp_path / "out") == 2
    assert "no end after 0.3 s" in capsys.readouterr().err


def test_a_row_group_that_hangs_is_waited_for_once(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"image": [image_bytes(number) for number in range(4)], "caption": ["a", "b", "c", "d"]}
    source = open_caption_source(write_parquet(tmp_path / "a.parquet", columns, row_group_size=2))
    over, calls = threading.Event(), []

    def endless(*_: object, row_groups: list[int], **__: object) -> object:
        calls.append(row_groups)
        over.wait(20)
        return iter(())

    with monkeypatch.context() as patched:
        patched.setattr(parquet.ParquetFile, "iter_batches", endless)
        patched.setattr("lexiseg.data.captions.parquet_source._READING_SECONDS", 0.2)
        assert [type(source.read(row)) for row in (0, 1)] == [InvalidRecord, InvalidRecord]
        over.set()
    assert calls == [[0]]
    assert "no end after" in json.dumps(source.read(0).detail)
    assert isinstance(source.read(2), RawRecord)
