from pathlib import Path

import pytest

from caption_files import good_members, image_bytes, json_members, write_folder, write_shard, write_shards
from lexiseg.core.errors import OutputError
from lexiseg.data.captions.check import check_captions
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.captions.pack import pack_captions
from lexiseg.data.captions.records import InvalidRecord


def test_a_check_counts_rot_repeats_and_lengths(tmp_path: Path) -> None:
    records = [good_members(number) for number in range(10)]
    records[1]["jpg"] = records[0]["jpg"]
    records[2]["txt"] = "IMAGE number 0"
    records[3]["txt"] = "word"
    records[4]["txt"] = "very " * 40
    records[5]["jpg"] = b"rot"
    del records[6]["txt"]
    seen: list[None] = []
    source = open_caption_source(write_shard(tmp_path / "a.tar", records))
    check = check_captions(source, workers=2, advance=lambda: seen.append(None))
    assert len(seen) == len(source) == 9
    assert (check.num_images, check.num_captions, check.num_shards) == (8, 8, 1)
    assert check.reasons() == {"no caption": 1, "unreadable image": 1}
    assert not check.is_good
    assert (check.repeated_images, check.repeated_captions) == (1, 1)
    assert (check.one_word, check.long) == (1 / 8, 1 / 8)
    assert (check.words["0"], check.words["50"], check.words["100"]) == (1, 3, 40)
    assert (check.heights["50"], check.widths["50"]) == (24, 30)
    assert dict(check.common)["image"] == 6 / 8
    assert check.as_dict()["num_broken"] == 2
    assert check.as_dict()["broken"] == check.reasons()


def test_good_data_is_good_and_threads_change_nothing(tmp_path: Path) -> None:
    source = open_caption_source(write_shards(tmp_path / "s"))
    checks = [check_captions(source, workers=workers) for workers in (1, 3)]
    assert checks[0].is_good
    assert checks[0] == checks[1]


def test_packing_keeps_images_captions_and_order(tmp_path: Path) -> None:
    source = open_caption_source(write_folder(tmp_path / "folder", count=12))
    packed = pack_captions(source, tmp_path / "out", shard_bytes=5_000)
    assert packed.num_records == 12
    assert packed.num_shards == len(list((tmp_path / "out").iterdir())) > 1
    again = open_caption_source(tmp_path / "out")
    for index in range(12):
        before, after = source.read(index), again.read(index)
        assert not isinstance(before, InvalidRecord)
        assert not isinstance(after, InvalidRecord)
        assert (before.key, before.image, before.captions) == (after.key, after.image, after.captions)
    pack_captions(source, tmp_path / "twice", shard_bytes=5_000)
    for file in (tmp_path / "out").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes()


def test_packing_leaves_broken_records_out_and_names_apart(tmp_path: Path) -> None:
    records = [json_members(0, {"caption": "a"}), good_members(1), good_members(2)]
    records[0]["__key__"] = "x y"
    records[1]["__key__"] = "x_y"
    records[2]["jpg"] = image_bytes(2)[:100]
    source = open_caption_source(write_shard(tmp_path / "a.tar", records))
    packed = pack_captions(source, tmp_path / "out")
    assert [(record.key, record.reason.value) for record in packed.broken] == [("00002", "unreadable image")]
    again = open_caption_source(tmp_path / "out")
    assert [getattr(again.read(index), "key", None) for index in range(2)] == ["x_y", "x_y-2"]


def test_packing_into_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    source = open_caption_source(write_shards(tmp_path / "s"))
    with pytest.raises(OutputError, match=r"packing into .*: found something there already"):
        pack_captions(source, tmp_path / "s")


def test_an_interrupted_packing_leaves_nothing(tmp_path: Path) -> None:
    source = open_caption_source(write_shards(tmp_path / "s"))

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_captions(source, tmp_path / "out", advance=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
