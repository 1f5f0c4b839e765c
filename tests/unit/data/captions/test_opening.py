import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_files import (
    good_members,
    image_bytes,
    json_members,
    write_folder,
    write_parquet,
    write_shard,
    write_shards,
)
from lexiseg.core.errors import DatasetError, InputError, MissingPackageError
from lexiseg.data.augmentation.word_corruption import WordCorruption
from lexiseg.data.captions import opening, parquet_source
from lexiseg.data.captions.opening import gather_words, open_caption_source, open_captions, read_samples
from lexiseg.data.captions.records import CaptionColumns, InvalidReason, InvalidRecord, RawRecord


def captions_of(source: Any) -> list[tuple[str, ...]]:
    return [record.captions for record in map(source.read, range(len(source)))]


def test_one_file_a_folder_a_pattern_and_a_list_give_the_same_records(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    files = sorted(folder.iterdir())
    asked = [folder, str(folder), str(folder / "part-{000..002}.tar"), files, [str(file) for file in files]]
    sources = [open_caption_source(paths) for paths in asked]
    expected = [(f"image number {number}",) for number in range(50)]
    assert all(captions_of(source) == expected for source in sources)
    assert len({source.fingerprint() for source in sources}) == 1
    assert captions_of(open_caption_source(files[1])) == expected[17:26]


def test_images_are_the_bytes_that_were_written(tmp_path: Path) -> None:
    source = open_caption_source(write_shards(tmp_path / "shards"))
    record = source.read(20)
    assert record == RawRecord("part-001.tar", "00020", image_bytes(20), ("image number 20",))
    assert record.source == "part-001.tar#00020"


def test_webdataset_reads_the_same_records(tmp_path: Path) -> None:
    from webdataset import WebDataset

    folder = write_shards(tmp_path / "shards")
    theirs = WebDataset(str(folder / "part-{000..002}.tar"), shardshuffle=False)
    ours = open_caption_source(folder)
    for index, sample in enumerate(theirs):
        record = ours.read(index)
        assert isinstance(record, RawRecord)
        assert (record.key, record.image) == (sample["__key__"], sample["jpg"])
        assert record.captions == (sample["txt"].decode(),)


def test_json_captions_may_be_several_and_under_another_key(tmp_path: Path) -> None:
    contents: list[Any] = [
        {"caption": "a  dog\n"},
        {"caption": ["a cat", "", "the cat"]},
        {"words": "a bird"},
    ]
    path = write_shard(tmp_path / "a.tar", [json_members(*item) for item in enumerate(contents)])
    records = [open_caption_source(path).read(index) for index in range(3)]
    assert [r.captions for r in records[:2] if isinstance(r, RawRecord)] == [("a dog",), ("a cat", "the cat")]
    assert isinstance(records[2], InvalidRecord)
    assert records[2].reason is InvalidReason.NO_CAPTION
    named = open_caption_source(path, columns=CaptionColumns(caption="words")).read(2)
    assert isinstance(named, RawRecord)
    assert named.captions == ("a bird",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1]", InvalidReason.BAD_JSON),
        (b"{", InvalidReason.BAD_JSON),
        (b"\xff", InvalidReason.NOT_UTF8),
        (b'{"caption": 3}', InvalidReason.NO_CAPTION),
    ],
)
def test_json_that_is_no_caption_is_named(tmp_path: Path, content: bytes, reason: InvalidReason) -> None:
    record = {"__key__": "a", "jpg": image_bytes(0), "json": content}
    found = open_caption_source(write_shard(tmp_path / "a.tar", [record])).read(0)
    assert isinstance(found, InvalidRecord)
    assert found.reason is reason


def test_a_caption_of_a_whole_page_is_refused(tmp_path: Path) -> None:
    record = good_members(0) | {"txt": "word " * 3000}
    found = open_caption_source(write_shard(tmp_path / "a.tar", [record])).read(0)
    assert found == InvalidRecord("a.tar", "00000", InvalidReason.LONG_CAPTION, "14,999 characters")


def test_parquet_finds_usual_columns_and_several_captions(tmp_path: Path) -> None:
    rows = {"id": ["x", "y"], "image": [{"bytes": image_bytes(n), "path": None} for n in (0, 1)]}
    path = write_parquet(tmp_path / "a.parquet", {**rows, "text": [["one", "two"], ["three"]]})
    source = open_caption_source(path)
    assert source.read(0) == RawRecord("a.parquet", "x", image_bytes(0), ("one", "two"))
    assert source.sizes == [2]


def test_parquet_reads_images_by_path_and_names_rows_without_a_image(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "0.jpg").write_bytes(image_bytes(0))
    columns = {"file_name": ["p/0.jpg", "p/1.jpg", None], "caption": ["zero", "one", None]}
    source = open_caption_source(write_parquet(tmp_path / "a.parquet", columns))
    first, second, third = map(source.read, range(3))
    assert first == RawRecord("a.parquet", "0", image_bytes(0), ("zero",))
    assert isinstance(second, InvalidRecord)
    assert second.reason is InvalidReason.NO_IMAGE
    assert "p/1.jpg" in second.detail
    assert third == InvalidRecord("a.parquet", "2", InvalidReason.NO_CAPTION)


def test_parquet_columns_can_be_named_and_wrong_names_are_explained(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"foto": [image_bytes(0)], "satz": ["ein Hund"]})
    with pytest.raises(
        DatasetError, match=r"column of images.*found the columns foto, satz; expected one of im"
    ):
        open_caption_source(path)
    with pytest.raises(DatasetError, match=r"expected nix\. Name it: .*--caption-column NAME"):
        open_caption_source(path, columns=CaptionColumns(image="foto", caption="nix"))
    source = open_caption_source(path, columns=CaptionColumns(image="foto", caption="satz"))
    assert captions_of(source) == [("ein Hund",)]


def test_a_file_that_is_no_parquet_is_listed_beside_good_ones(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": [image_bytes(0)], "caption": ["a"]})
    (tmp_path / "b.parquet").write_bytes(b"PAR1 rot")
    source = open_caption_source(tmp_path)
    assert len(source) == 1
    assert [(record.shard, record.reason) for record in source.invalid] == [
        ("b.parquet", InvalidReason.ARCHIVE)
    ]


def test_a_folder_lists_what_does_not_fit_together(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=5, captions=1)
    (folder / "images" / "lonely.png").write_bytes(image_bytes(9, kind="PNG"))
    (folder / "images" / "004.jpg").write_bytes(image_bytes(9))
    lines = b"ghost\tno image of it\nno tab here\n001\tcaf\xe9\n"
    (folder / "captions.tsv").write_bytes((folder / "captions.tsv").read_bytes() + lines)
    source = open_caption_source(folder)
    assert captions_of(source) == [(f"caption 0 of {number}",) for number in range(4)]
    assert {(record.key, record.reason) for record in source.invalid} == {
        ("lonely", InvalidReason.NO_CAPTION),
        ("004", InvalidReason.TWICE),
        ("ghost", InvalidReason.NO_IMAGE),
        ("line 7", InvalidReason.NO_CAPTION),
        ("001 (line 8)", InvalidReason.NOT_UTF8),
    }


def test_a_split_takes_the_stems_of_a_list(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=5, captions=1)
    (folder / "train.txt").write_text("001\n003\nghost\n")
    source = open_caption_source(folder, split="train")
    assert captions_of(source) == [("caption 0 of 1",), ("caption 0 of 3",)]
    assert [record.key for record in source.invalid] == ["ghost"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("https://example.org/a.tar", "found an address or a command; expected files on this machine"),
        ("pipe:cat a.tar", "found an address or a command"),
        ("a.tar.gz", "found a compressed tar file; expected tar files without compression. Unpack it"),
        ("missing.tar", "found no file missing.tar; expected tar shards"),
        ("missing-{00..02}.tar", "found 3 of 3 files missing: missing-00.tar"),
        (".", "found a folder without any of them"),
        ("notes.txt", "found the file notes.txt"),
    ],
)
def test_what_cannot_be_opened_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").touch()
    with pytest.raises(DatasetError) as caught:
        open_caption_source(name)
    assert found in str(caught.value)
    assert str(caught.value).startswith(f"opening the captions in {name}: ")


def test_tar_files_beside_parquet_files_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, (1,))
    (tmp_path / "b.parquet").touch()
    with pytest.raises(DatasetError, match=r"files of two kinds: \.parquet, \.tar"):
        open_caption_source(tmp_path)


def test_a_shard_without_records_is_refused_for_training_only(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", [{"__key__": "a", "cls": b"3"}])
    assert len(open_caption_source(path)) == 0
    with pytest.raises(InputError, match=r"no image with a caption.*lexiseg captions check"):
        open_captions(path, batch_size=1)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"seed": -1}, {"max_invalid": 1.5}, {"window": 0}])
def test_impossible_settings_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"opening captions: found batch_size="):
        open_captions(tmp_path, **({"batch_size": 2} | change))


@pytest.mark.parametrize(("package", "name"), [("pyarrow", "a.parquet"), ("braceexpand", "a-{0..1}.tar")])
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    import importlib.util

    (tmp_path / "a.parquet").touch()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == package else find(asked))
    with pytest.raises(MissingPackageError, match=r"pip install \"lexiseg\[train\]\""):
        open_caption_source(tmp_path / name)


@pytest.mark.filterwarnings("ignore:a record cannot be used")
def test_samples_for_evaluation_come_in_order_whole_and_with_all_captions(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", count=4)
    (folder / "images" / "002.png").write_bytes(b"rot")
    samples = list(read_samples(open_caption_source(folder), tmp_path / "invalid_log"))
    assert [str(sample.source) for sample in samples] == ["images#000", "images#001", "images#003"]
    assert samples[1].captions == ("caption 0 of 1", "caption 1 of 1")
    assert samples[0].image.shape == (24, 30, 3)
    assert samples[0].image.dtype == np.uint8


def test_words_to_replace_by_come_from_the_captions(tmp_path: Path) -> None:
    source = open_caption_source(write_folder(tmp_path / "f", count=3))
    assert gather_words(source) == ("0", "1", "2", "caption", "of")


def test_words_are_gathered_once_and_again_where_the_data_changed_or_what_was_remembered_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write_folder(tmp_path / "f", count=3), tmp_path / "cache"
    calls = []
    gather = opening.gather_words
    monkeypatch.setattr(opening, "gather_words", lambda source: calls.append(1) or gather(source))

    def words() -> tuple[str, ...]:
        data = open_captions(
            path, batch_size=2, corruption=WordCorruption(), cache=cache, invalid_log=tmp_path
        )
        return tuple(data._maker.replacements)

    assert words() == words() == ("0", "1", "2", "caption", "of")
    assert len(calls) == 1
    (file,) = (cache / "captions").glob("words-*.json")
    for damaged in ("rot", file.read_text().replace("caption", "capt1on"), "[]"):
        file.write_text(damaged)
        assert words() == ("0", "1", "2", "caption", "of")
    assert len(calls) == 4
    (path / "captions.tsv").write_text("000\tanother\n001\tone\n002\tone\n")
    assert words() == ("another", "one")


@pytest.mark.parametrize("path", ["../secret.jpg", "{}/secret.jpg", "a/../../secret.jpg", "pipe", "\0"])
def test_parquet_names_no_file_outside_its_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(image_bytes(0))
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data/pipe")
    columns = {"image_path": [path.format(tmp_path)], "caption": ["one"]}
    record = open_caption_source(write_parquet(tmp_path / "data/a.parquet", columns)).read(0)
    assert isinstance(record, InvalidRecord)
    assert record.reason is InvalidReason.NO_IMAGE


def test_parquet_that_unpacks_to_more_than_a_row_group_may_have_is_not_held(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parquet_source, "_MAX_GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_source, "_BYTES_AT_ONCE", 1 << 18)
    columns = {"image": [image_bytes(0)] * 5000, "caption": ["word " * 100] * 5000}  # a dictionary of one
    path = write_parquet(tmp_path / "a.parquet", columns, row_group_size=5000)
    assert path.stat().st_size < 20_000
    record = open_caption_source(path).read(0)
    assert isinstance(record, InvalidRecord)
    assert "unpacks to more than" in record.detail
