"""Results in Parquet parts: the same labels as files, the same bytes whoever made them, resumed part by part."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from lexiseg.cli import main
from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import DatasetError
from lexiseg.core.segmentation import Segmentation
from lexiseg.data.formats.result_shards import SegmentedShards, part_path
from lexiseg.data.formats.segmented import SegmentedFolder
from lexiseg.runs.bulk.segment import SegmentJob

MODEL = "toy_segmenter:ColourSegmenter"


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if number % 2 else ".") / f"{number}.png")
    (folder / "bad.png").write_bytes(b"damage")
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def segment(
    photos: Path, out: Path, *more: object, results: str = "parquet-png", words: str = "red, green, blue"
) -> int:
    how = ("--results", results, "--part-size", 3)
    return run("segment", photos, "--words", words, "--model", MODEL, "--out", out, *how, *more)


def parts(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("part-*")}


def rows_of(part: Path) -> list[dict]:
    return parquet.read_table(part).to_pylist()


@pytest.fixture
def segmented(monkeypatch) -> Counter:
    """Count what is really segmented."""
    count: Counter[str] = Counter()
    real = SegmentJob._segment

    def counting(self, number, planned, stem):
        count[stem] += 1
        return real(self, number, planned, stem)

    monkeypatch.setattr(SegmentJob, "_segment", counting)
    return count


@pytest.mark.parametrize("results", ["parquet-png", "parquet-rle"])
def test_parts_hold_what_files_hold(photos, tmp_path, results):
    assert segment(photos, tmp_path / "parts", results=results) == 1
    assert segment(photos, tmp_path / "files", results="files") == 1
    in_files = {image.stem: image for image in SegmentedFolder(tmp_path / "files")}
    in_parts = {image.stem: image for image in SegmentedShards(tmp_path / "parts")}
    assert in_parts.keys() == in_files.keys()
    for stem, image in in_parts.items():
        assert np.array_equal(image.label_map, in_files[stem].label_map)
        assert image.scores == in_files[stem].scores
        assert (image.file_name, image.source) == (in_files[stem].file_name, in_files[stem].source)
    assert sorted(parts(tmp_path / "parts")) == [
        f"{table}/part-{first:09d}.parquet" for table in ("classes", "images") for first in (0, 3, 6)
    ]
    for format_ in ("table", "coco"):
        for kind in ("files", "parts"):
            assert run("export", tmp_path / kind, tmp_path / f"{kind}.{format_}", "--format", format_) == 0
    assert (tmp_path / "parts.coco").read_bytes() == (tmp_path / "files.coco").read_bytes()
    tables = [parquet.read_table(tmp_path / f"{kind}.table").to_pylist() for kind in ("files", "parts")]
    classes = parquet.read_table(tmp_path / "parts/classes").to_pylist()
    by_image = [sorted(table, key=lambda row: (row["image"], row["label"])) for table in (*tables, classes)]
    assert by_image[0] == by_image[1] == by_image[2]


def test_the_states_are_in_the_rows_and_pandas_opens_the_folder(photos, tmp_path):
    pandas = pytest.importorskip("pandas")
    segment(photos, tmp_path / "out")
    table = pandas.read_parquet(tmp_path / "out/images").set_index("image")
    assert table.state.value_counts().to_dict() == {"done": 7, "failed": 1}
    assert table.message["bad"].startswith("data that no image decoder recognises")
    assert table.file["deep/1"]["path"] == str((photos / "deep/1.png").resolve())


@pytest.mark.exhaustive
def test_two_workers_write_the_same_parts(photos, tmp_path, capsys):
    segment(photos, tmp_path / "one")
    assert segment(photos, tmp_path / "two", "--workers", 2) == 1
    assert parts(tmp_path / "two") == parts(tmp_path / "one")
    assert "7 segmented, 1 failed" in capsys.readouterr().out


#: What is done to one of three parts.
CHANGES = ["nothing", "lost", "damaged", "without its classes", "of an older image"]


@pytest.mark.parametrize("what", CHANGES)
def test_a_run_goes_on_with_the_parts_that_are_not_whole(photos, tmp_path, capsys, segmented, what):
    (photos / "6.png").rename(photos / "deep/7.png")
    out = tmp_path / "out"
    segment(photos, out)
    before = parts(out)
    first = next(first for first in (0, 3, 6) if b"deep/3" in part_path(out, first).read_bytes())
    files = parquet.read_table(part_path(out, first), columns=["image"]).to_pydict()["image"]
    match what:
        case "lost":
            part_path(out, first).unlink()
        case "damaged":
            group = parquet.read_metadata(part_path(out, first)).row_group(0)
            column = group.column(group.num_columns - 1)
            content = bytearray(part_path(out, first).read_bytes())
            start = column.dictionary_page_offset or column.data_page_offset
            content[start + column.total_compressed_size // 2] ^= 255
            part_path(out, first).write_bytes(content)
        case "without its classes":
            part_path(out, first, "classes").unlink()
        case "of an older image":
            Image.new("RGB", (20, 12), "red").save(photos / "deep/3.png")
    segmented.clear()
    capsys.readouterr()
    assert segment(photos, out) == 1
    expected = {"nothing": [], "of an older image": ["deep/3"]}.get(what, files)
    assert sorted(segmented) == sorted({*expected, "bad"})
    assert f"{7 - len(set(expected) - {'bad'})} already there, 1 failed" in capsys.readouterr().out
    if what != "of an older image":
        assert parts(out) == before


def test_a_retry_does_what_failed_and_keeps_the_rest_of_its_part(photos, tmp_path, segmented):
    out = tmp_path / "out"
    segment(photos, out)
    Image.new("RGB", (8, 8), "red").save(photos / "bad.png")
    segmented.clear()
    assert segment(photos, out, "--retry-failed") == 0
    assert list(segmented) == ["bad"]
    assert {image.stem for image in SegmentedShards(out)} == {
        "0",
        "2",
        "4",
        "6",
        "bad",
        "deep/1",
        "deep/3",
        "deep/5",
    }


def test_a_stop_loses_the_part_it_was_at_only(photos, tmp_path, monkeypatch, segmented):
    out = tmp_path / "out"
    real = SegmentJob._keep

    def full(self, segmentation: Segmentation, stem, photo):
        if stem == "deep/3":
            with atomic_path(out / "x"):
                raise OSError(28, "No space left on device")
        return real(self, segmentation, stem, photo)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentJob, "_keep", full)
        assert segment(photos, out) == 2
    whole = parts(out)
    assert 2 <= len(whole) < 6
    segmented.clear()
    assert segment(photos, out) == 1
    there = {row["image"] for name in whole if "images" in name for row in rows_of(out / name)}
    assert there
    assert not (set(segmented) - {"bad"}) & there
    assert whole.items() <= parts(out).items()


def test_a_folder_that_vanishes_ends_the_run(photos, tmp_path, monkeypatch, capsys, segmented):
    out = tmp_path / "out"
    real = SegmentJob._keep

    def vanishing(self, segmentation: Segmentation, stem, photo):
        if stem == "deep/3":
            out.rename(tmp_path / "away")
        return real(self, segmentation, stem, photo)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentJob, "_keep", vanishing)
        assert segment(photos, out) == 2
    assert "removed, or replaced by another" in capsys.readouterr().err
    shutil.rmtree(out, ignore_errors=True)
    (tmp_path / "away").rename(out)
    there = {row["image"] for name in parts(out) if "images" in name for row in rows_of(out / name)}
    segmented.clear()
    assert segment(photos, out) == 1
    assert there
    assert not (set(segmented) - {"bad"}) & there


def test_other_words_need_another_folder(photos, tmp_path, capsys):
    segment(photos, tmp_path / "out")
    assert segment(photos, tmp_path / "out", words="red, blue") == 2
    assert "results of another request" in capsys.readouterr().err
    assert segment(photos, tmp_path / "out", results="files") == 2
    assert "results = " in capsys.readouterr().err
    assert segment(photos, tmp_path / "new", "--explain") == 2
    assert segment(photos, tmp_path / "new", "--part-size", 0) == 2


def test_parts_of_strangers_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no part"):
        SegmentedShards(tmp_path)
    part_path(tmp_path, 0).parent.mkdir()
    part_path(tmp_path, 0).write_bytes(b"x" * 100)
    with pytest.raises(DatasetError, match="part-000000000"):
        SegmentedShards(tmp_path)
