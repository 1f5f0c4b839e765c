import io
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_files import good_members, image_bytes, write_shard
from lexiseg.data.captions import tar_index
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.packed_keys import PackedKeys
from lexiseg.data.captions.records import InvalidReason, InvalidRecord
from lexiseg.data.captions.tar_index import TarIndex, index_tar, index_tars, read_tar_index


def write_members(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_keys_end_at_the_first_dot_of_the_last_part(tmp_path: Path) -> None:
    members = [("v1.0/a.JPG", image_bytes(0)), ("v1.0/a.txt", b"one"), ("v1.0/a.seg.png", b"ignored")]
    index = read_tar_index(write_members(tmp_path / "a.tar", members))
    assert index.keys == ("v1.0/a",)
    assert not index.invalid
    assert index.places[0, 1] == len(image_bytes(0))


def test_long_names_and_members_of_other_programs_do_not_disturb(tmp_path: Path) -> None:
    long = "x" * 150
    members = [
        ("__meta__/info.txt", b"skipped"),
        ("README", b"no extension"),
        (f"{long}.jpg", image_bytes(0)),
        (f"{long}.txt", "zwölf Hunde".encode()),
        ("b.cls", b"3"),
    ]
    path = write_members(tmp_path / "a.tar", members)
    record = open_caption_source(path).read(0)
    assert read_tar_index(path).keys == (long,)
    assert not isinstance(record, InvalidRecord)
    assert record.captions == ("zwölf Hunde",)


def test_a_key_that_comes_back_is_another_record_and_two_files_of_one_kind_are_broken(tmp_path: Path) -> None:
    pair = [("a.jpg", image_bytes(0)), ("a.txt", b"one")]
    twice = [("c.jpg", image_bytes(0)), ("c.jpg", image_bytes(1)), ("c.txt", b"two")]
    index = read_tar_index(write_members(tmp_path / "a.tar", [*pair, ("b.cls", b""), *pair, *twice]))
    assert index.keys == ("a (1 of 2)", "a (2 of 2)")
    assert index.invalid == (InvalidRecord("", "c", InvalidReason.TWICE, "two .jpg"),)


@pytest.mark.parametrize("left", [0.3, 0.5, 0.77])
def test_a_shard_that_was_cut_off_keeps_what_is_whole(tmp_path: Path, left: float) -> None:
    path = write_shard(tmp_path / "a.tar", map(good_members, range(10)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * left)])
    source = open_caption_source(path)
    assert 0 < len(source) < 10
    assert [record.reason for record in source.invalid] == [InvalidReason.TRUNCATED]
    assert all(not isinstance(source.read(index), InvalidRecord) for index in range(len(source)))


def test_a_shard_that_shrinks_after_it_was_opened_breaks_records_not_the_run(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", map(good_members, range(4)))
    source = open_caption_source(path)
    path.write_bytes(path.read_bytes()[:2000])
    record = source.read(3)
    assert isinstance(record, InvalidRecord)
    assert record.reason is InvalidReason.TRUNCATED


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b"", b"\0" * 10_240])
def test_a_file_that_is_no_tar_is_no_crash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    source = open_caption_source(path)
    assert len(source) == 0
    if content.strip(b"\0"):
        assert [(record.shard, record.reason) for record in source.invalid] == [
            ("a.tar", InvalidReason.ARCHIVE)
        ]


def test_the_index_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_shard(tmp_path / "a.tar", [*map(good_members, range(5)), {"__key__": "x", "txt": "alone"}])
    first = index_tar(path, tmp_path / "cache")
    monkeypatch.setattr("lexiseg.data.captions.tar_index.read_tar_index", None)  # it must not be needed
    again = index_tar(path, tmp_path / "cache")
    assert np.array_equal(first.places, again.places)
    assert (first.keys, first.invalid) == (again.keys, again.invalid)
    monkeypatch.undo()
    write_shard(path, map(good_members, range(7)))
    assert len(index_tar(path, tmp_path / "cache").keys) == 7


def test_of_processes_that_open_the_same_data_one_reads_the_headers(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / f"{n}.tar", map(good_members, range(5))) for n in range(2)]
    cache = tmp_path / "cache"
    read: list[Path] = []
    real = tar_index.read_tar_index

    def slow(path: Path) -> TarIndex:
        read.append(path)
        time.sleep(0.05)
        return real(path)

    found: list[list[TarIndex]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tar_index, "read_tar_index", slow)
        threads = [threading.Thread(target=lambda: found.append(index_tars(paths, cache))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(read) == paths
    assert [[list(index.keys) for index in one] for one in found] == [[list(real(p).keys) for p in paths]] * 3


def test_many_shards_are_read_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_shard(tmp_path / f"{n}.tar", map(good_members, range(n + 1))) for n in range(3)]
    monkeypatch.setattr(tar_index, "_MUCH_BYTES", 0)
    monkeypatch.setattr(tar_index.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert [len(index.keys) for index in index_tars(paths, tmp_path / "cache")] == [1, 2, 3]
    assert len(list((tmp_path / "cache/captions").glob("*.npz"))) == 3


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)


@given(names=st.lists(NAMES, max_size=5))
def test_packed_names_are_the_names(names: list[str]) -> None:
    packed = PackedKeys.of([*names, "\udcff"])
    assert packed == [*names, "\udcff"]
    assert (packed[-1], packed[1:], len(packed)) == ("\udcff", [*names, "\udcff"][1:], len(names) + 1)
    assert PackedKeys.of(names) == tuple(names)
    assert packed != names
    with pytest.raises(ValueError, match="names for"):
        PackedKeys(packed.content, len(packed) + 1)
    with pytest.raises(IndexError):
        packed[len(packed)]


def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", map(good_members, range(5)))
    index_tar(path, tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "captions").iterdir()
    file.write_bytes(b"rot")
    assert len(index_tar(path, tmp_path / "cache").keys) == 5


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", map(good_members, range(5)))
    (tmp_path / "cache").touch()
    with pytest.warns(UserWarning, match=r"the index of a\.tar is not remembered"):
        assert len(index_tar(path, tmp_path / "cache").keys) == 5


@pytest.mark.parametrize(
    "name", ["a/" * 20_000 + "b.jpg", "." * 30_000, "x" * 30_000 + ".jpg", "__" * 20_000 + "/x"]
)
def test_names_of_any_length_are_passed_over_at_once(tmp_path: Path, name: str) -> None:
    path = write_members(tmp_path / "a.tar", [(name, b"x"), ("a.jpg", image_bytes(0)), ("a.txt", b"one")])
    index = read_tar_index(path)
    assert index.keys == ("a",)
    assert index.passed_over == {"names of more than 4,096 letters": 1}


def test_headers_of_any_size_are_not_searched(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.jpg")
        member.pax_headers = {"comment": "9" * 200_000}
        archive.addfile(member)
    index = read_tar_index(tmp_path / "a.tar")
    assert index.keys == ()
    assert "a header of 200," in index.invalid[0].detail


@pytest.mark.parametrize("name", ["../../a", "/a", "a\x1b[2J", "a/../b"])
def test_names_are_keys_and_never_paths(tmp_path: Path, name: str) -> None:
    path = write_members(tmp_path / "a.tar", [(f"{name}.jpg", image_bytes(0)), (f"{name}.txt", b"one")])
    before = sorted(tmp_path.parent.rglob("*"))
    source = open_caption_source(path)
    assert not isinstance(source.read(0), InvalidRecord) if len(source) else source.notes
    assert sorted(tmp_path.parent.rglob("*")) == before
