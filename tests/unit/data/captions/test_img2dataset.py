"""img2dataset's own output opens as it is, and says what was not downloaded."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from lexiseg.core.errors import DatasetError
from lexiseg.data.captions.opening import open_caption_source


def jpeg(seed=0):
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(held, "JPEG")
    return held.getvalue()


def write_tar(path, names):
    with tarfile.open(path, "w") as archive:
        for name in names:
            data = jpeg() if name.endswith("jpg") else b"a cat"
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_shard(folder, number, *, failed, stats=True, table=True):
    folder.mkdir(exist_ok=True)
    name = f"{number:05d}"
    write_tar(folder / f"{name}.tar", [f"{i:09d}.{e}" for i in range(3) for e in ("jpg", "json", "txt")])
    status = ["success"] * 3 + ["failed_to_download"] * failed
    columns = {
        "url": ["u"] * len(status),
        "key": ["k"] * len(status),
        "status": status,
        "caption": ["c"] * len(status),
    }
    if table:
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    if stats:
        facts = {"count": len(status), "successes": 3, "failed_to_download": failed, "failed_to_resize": 0}
        (folder / f"{name}_stats.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("stats", [True, False])
def test_tars_are_read_and_tables_tell_what_failed(tmp_path, stats):
    write_shard(tmp_path / "out", 0, failed=2, stats=stats)
    write_shard(tmp_path / "out", 1, failed=0, stats=stats)
    source = open_caption_source(tmp_path / "out", cache=None)
    assert (source.kind, len(source), list(source.invalid)) == ("tar", 6, [])
    assert source.notes == ["img2dataset asked for 8 images: 6 downloaded, 2 failed to download"]


def test_tables_beside_other_tars_are_still_two_kinds(tmp_path):
    write_shard(tmp_path, 0, failed=0, table=False)
    parquet.write_table(pa.table({"jpg": [jpeg()], "caption": ["c"]}), tmp_path / "other.parquet")
    with pytest.raises(DatasetError, match=r"files of two kinds: \.parquet, \.tar"):
        open_caption_source(tmp_path, cache=None)


def test_a_table_that_is_damaged_still_leaves_the_images(tmp_path):
    write_shard(tmp_path, 0, failed=0, stats=False)
    (tmp_path / "00000.parquet").write_bytes(b"x")
    source = open_caption_source(tmp_path, cache=None)
    assert len(source) == 3
    assert source.notes == ["1 Parquet files describe the tar files beside them and are not read for images"]


def test_loose_files_are_read_and_the_tables_tell_what_failed(tmp_path):
    write_shard(tmp_path, 0, failed=2)
    with tarfile.open(tmp_path / "00000.tar") as archive:
        archive.extractall(tmp_path / "00000", filter="data")
    (tmp_path / "00000.tar").unlink()
    source = open_caption_source(tmp_path, cache=None)
    assert [source.read(index).captions for index in range(len(source))] == [("a cat",)] * 3
    assert source.read(0).source == "00000#00000/000000000"
    assert list(source.invalid) == []
    assert source.notes == ["img2dataset asked for 5 images: 3 downloaded, 2 failed to download"]


@pytest.mark.parametrize(
    ("names", "records", "dotted", "passed_over"),
    [
        (["a.jpg", "a.txt"], 1, [], ""),
        (["a.v2.jpg", "a.v2.txt"], 0, ["a.v2"], ""),
        (["a.v2.jpg", "a.v2.txt", "a.v3.jpg", "a.v3.txt"], 0, ["a.v2", "a.v3"], ""),
        (["a.jpg", "a.txt", "a.1.jpg", "a.1.txt"], 1, ["a.1"], ""),
        (["a.jpg", "a.txt", "a.seg.jpg"], 1, [], ""),
        (["photo.2024.01.31.jpg", "photo.2024.01.31.txt"], 0, ["photo.2024.01.31"], ""),
        (["a.v2.jpg", "b.jpg", "b.txt"], 1, ["a.v2"], ""),
        (["a.cls", "b.npy", "c.npy", "d.jpg", "d.txt"], 1, [], "2 .npy, 1 .cls"),
        (["README", "d.jpg", "d.txt"], 1, [], "1 without suffix"),
        (
            ["__MACOSX/d.jpg", "__MACOSX/._d.jpg", ".DS_Store", "d.jpg", "d.txt"],
            1,
            [],
            "1 hidden or left by a program",
        ),
        (["./000.jpg", "./000.txt", ".data/1.jpg", ".data/1.txt"], 2, [], ""),
    ],
)
@pytest.mark.parametrize("remembered", [False, True])
def test_what_pairs_with_nothing_is_counted(tmp_path, names, records, dotted, passed_over, remembered):
    write_tar(tmp_path / "a.tar", names)
    for _ in range(2):
        source = open_caption_source(tmp_path / "a.tar", cache=tmp_path / "cache" if remembered else None)
        assert len(source) == records
        assert [record.key for record in source.invalid if record.reason == "dot in the name"] == dotted
        found = f"members of tar files that belong to no record: {passed_over}"
        assert source.notes == ([found] if passed_over else [])
