"""What people have: every layout of plain files gives the same records, trains, and packs; what is amiss is listed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caption_files import image_bytes, write_folder, write_shards
from lexiseg.core.errors import DatasetError
from lexiseg.data.captions.check import check_captions
from lexiseg.data.captions.opening import open_caption_source, open_captions
from lexiseg.data.captions.pack import pack_captions
from lexiseg.data.captions.records import CaptionColumns, InvalidReason, InvalidRecord, RawRecord

NAMES = ["a", "b", "sub/c", "sub/d"]
#: Commas, quotes and a line break are what tables are bad at.
CAPTIONS = ['a dog, "Rex", sits', "b", "c", "d"]


def write_images(folder: Path, names: list[str] = NAMES) -> None:
    for number, name in enumerate(names):
        file = folder / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(number))


def write_texts(path: Path) -> Path:
    write_images(path)
    for name, caption in zip(NAMES, CAPTIONS, strict=True):
        (path / f"{name}.txt").write_text(caption + "\n")
    return path


def write_jsons(path: Path) -> Path:
    write_images(path)
    for name, caption in zip(NAMES, CAPTIONS, strict=True):
        (path / f"{name}.json").write_text(json.dumps({"caption": caption, "url": "u"}))
    return path


def write_csv(path: Path) -> Path:
    write_images(path)
    cells = [f'"{caption}"'.replace('"Rex"', '""Rex""') for caption in CAPTIONS]
    rows = [f"{name}.jpg,{cell}" for name, cell in zip(NAMES, cells, strict=True)]
    (path / "metadata.csv").write_text("\n".join(["file_name,text", *rows]) + "\n")
    return path


def write_jsonl(path: Path) -> Path:
    write_images(path)
    rows = [
        {"file_name": f"{name}.jpg", "text": caption} for name, caption in zip(NAMES, CAPTIONS, strict=True)
    ]
    (path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_jsonl_a_folder(path: Path) -> Path:
    write_images(path)
    for folder, part in (("", slice(2)), ("sub", slice(2, 4))):
        rows = [
            {"file_name": f"{os.path.basename(name)}.jpg", "caption": caption}
            for name, caption in zip(NAMES[part], CAPTIONS[part], strict=True)
        ]
        (path / folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_coco(path: Path, place: str = "train2017") -> Path:
    write_images(path / place)
    content = {
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(NAMES)],
        "annotations": [{"image_id": number, "caption": text} for number, text in enumerate(CAPTIONS)],
    }
    (path / "annotations").mkdir()
    (path / "annotations/captions_train2017.json").write_text(json.dumps(content))
    return path


def write_coco_beside(path: Path) -> Path:
    return write_coco(path, "images") / "annotations/captions_train2017.json"


def write_quoted_tsv(path: Path) -> Path:
    write_images(path / "images")
    lines = [
        '"a"\t"a dog, ""Rex"", sits"',
        'b.jpg\t"b"',
        "sub/c\tc",
        '"sub/d.jpg"\td',
    ]
    (path / "captions.tsv").write_text("\n".join(lines) + "\n")
    return path


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "txt beside": write_texts,
    "json beside": write_jsons,
    "metadata.csv": write_csv,
    "metadata.jsonl": write_jsonl,
    "metadata.jsonl in each folder": write_jsonl_a_folder,
    "coco": write_coco,
    "coco's file": write_coco_beside,
    "quoted tsv": write_quoted_tsv,
}


@pytest.fixture(params=sorted(LAYOUTS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return LAYOUTS[request.param](tmp_path / "data")


def records_of(source: Any) -> dict[str, tuple[str, ...]]:
    found = [source.read(index) for index in range(len(source))]
    assert all(isinstance(record, RawRecord) for record in found), found
    return {record.key: record.captions for record in found}


def test_every_layout_gives_the_same_records_checks_and_packs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    source = open_caption_source(path)
    assert records_of(source) == {name: (text,) for name, text in zip(NAMES, CAPTIONS, strict=True)}
    assert [source.read(index).image for index in range(4)] == [image_bytes(number) for number in range(4)]
    assert (list(source.invalid), source.notes) == ([], [])
    assert check_captions(source, workers=1).is_good
    packed = pack_captions(source, tmp_path / "packed")
    assert packed.num_records == 4
    assert records_of(open_caption_source(tmp_path / "packed", cache=None)) == records_of(source)
    assert source.fingerprint() == open_caption_source(path).fingerprint()


def test_a_change_of_a_caption_changes_the_fingerprint(path: Path, tmp_path: Path) -> None:
    before = open_caption_source(path).fingerprint()
    folder = path if path.is_dir() else path.parent
    for file in [
        file for file in folder.rglob("*") if file.suffix in (".txt", ".json", ".jsonl", ".csv", ".tsv")
    ]:
        file.write_text(file.read_text().replace("dog", "elk "))
    assert open_caption_source(path).fingerprint() != before


def test_shards_in_subfolders_are_found(tmp_path: Path) -> None:
    for number, size in enumerate((3, 2)):
        write_shards(tmp_path / f"part{number}", (size,))
    source = open_caption_source(tmp_path, cache=None)
    assert source.sizes == [3, 2]
    assert {source.read(index).shard for index in range(5)} == {
        "part0/part-000.tar",
        "part1/part-000.tar",
    }


def rot_beside(path: Path) -> None:
    (path / "lonely.png").write_bytes(image_bytes(9, kind="PNG"))
    (path / "ghost.txt").write_text("no image")
    (path / "b.png").write_bytes(image_bytes(9, kind="PNG"))
    (path / "sub/c.txt").write_bytes(b"caf\xe9")
    (path / "sub/d.txt").write_bytes(b"x" * 20_000)


def rot_in_csv(path: Path) -> None:
    (path / "lonely.png").write_bytes(image_bytes(9, kind="PNG"))
    table = path / "metadata.csv"
    rows = table.read_bytes().replace(b'"c"', b"caf\xe9").replace(b'"d"', b"")
    table.write_bytes(rows + b"ghost.jpg,nobody\n../up.jpg,leaves\n")


def rot_in_jsonl(path: Path) -> None:
    table = path / "metadata.jsonl"
    text = table.read_text().replace('"c"', '"\\ud83d"').replace('"d"', "[" * 5000)
    table.write_text(text + '[1]\n{"file_name": 3, "text": "x"}\n')


def rot_in_coco(path: Path) -> None:
    file = path / "annotations/captions_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["image_id"] = 99
    content["annotations"][3]["caption"] = 3
    content["images"].append({"id": 7, "file_name": "/etc/hostname"})
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("write", "spoil", "usable", "expected"),
    [
        (
            write_texts,
            rot_beside,
            ["a"],
            {
                ("lonely", InvalidReason.NO_CAPTION),
                ("ghost", InvalidReason.NO_IMAGE),
                ("b", InvalidReason.TWICE),
                ("sub/c", InvalidReason.NOT_UTF8),
                ("sub/d", InvalidReason.LONG_CAPTION),
            },
        ),
        (
            write_csv,
            rot_in_csv,
            ["a", "b"],
            {
                ("lonely.png", InvalidReason.NO_CAPTION),
                ("ghost.jpg", InvalidReason.NO_IMAGE),
                ("line 7", InvalidReason.NO_IMAGE),
                ("sub/c", InvalidReason.NOT_UTF8),
                ("sub/d", InvalidReason.EMPTY_CAPTION),
            },
        ),
        (
            write_jsonl,
            rot_in_jsonl,
            ["a", "b"],
            {
                ("line 4", InvalidReason.BAD_JSON),
                ("line 5", InvalidReason.BAD_JSON),
                ("line 6", InvalidReason.NO_IMAGE),
                ("sub/c", InvalidReason.NOT_UTF8),
                ("sub/d.jpg", InvalidReason.NO_CAPTION),
            },
        ),
        (
            write_coco,
            rot_in_coco,
            ["a", "b"],
            {
                ("sub/c.jpg", InvalidReason.NO_CAPTION),
                ("99", InvalidReason.NO_IMAGE),
                ("/etc/hostname", InvalidReason.NO_IMAGE),
                ("sub/d", InvalidReason.NO_CAPTION),
            },
        ),
    ],
)
def test_what_does_not_fit_is_listed_and_costs_no_other(
    tmp_path: Path, write: Any, spoil: Any, usable: list[str], expected: set[tuple[str, InvalidReason]]
) -> None:
    path = write(tmp_path / "data")
    spoil(path)
    source = open_caption_source(path)
    read = [source.read(index) for index in range(len(source))]
    assert [record.key for record in read if isinstance(record, RawRecord)] == usable
    broken = [*source.invalid, *(record for record in read if isinstance(record, InvalidRecord))]
    assert {(record.key, record.reason) for record in broken} == expected


@pytest.mark.parametrize(
    ("rest", "usable"),
    [
        ('"b\nsub/c.jpg,"c"\nsub/d.jpg,d\n', ["a", "sub/d"]),
        ('"b\nsub/c.jpg,c\nsub/d.jpg,d\n', ["a"]),
        ('"b' + "x" * 200_000 + "\nsub/c.jpg,c\n", ["a", "sub/c"]),
    ],
)
def test_a_quote_that_never_closes_costs_its_rows_and_says_so(
    tmp_path: Path, rest: str, usable: list[str]
) -> None:
    path = tmp_path / "data"
    write_images(path)
    (path / "metadata.csv").write_text(f"file_name,text\na.jpg,x\nb.jpg,{rest}")
    source = open_caption_source(path)
    assert list(records_of(source)) == usable
    assert [record.key for record in source.invalid if record.reason is InvalidReason.TRUNCATED] == [
        "after line 2"
    ]


def test_columns_and_splits_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "data"
    write_images(path, ["train/a", "train/b", "test/c"])
    table = "foto\tsatz\tname\ntrain/a.jpg\teins\tx\ntrain/b.jpg\tzwei\ty\ntest/c.jpg\tdrei\tz\n"
    (path / "metadata.tsv").write_text(table)
    with pytest.raises(DatasetError, match=r"found the columns foto, satz, name;.*--image-column NAME"):
        open_caption_source(path)
    columns = CaptionColumns(image="foto", caption="satz", key="name")
    assert records_of(open_caption_source(path, columns=columns)) == {
        "x": ("eins",), "y": ("zwei",), "z": ("drei",),
    }  # fmt: skip
    plain = CaptionColumns(image="foto", caption="satz")
    assert set(records_of(open_caption_source(path, columns=plain, split="train"))) == {"train/a", "train/b"}
    (path / "val.txt").write_text("test/c\n")
    assert set(records_of(open_caption_source(path, columns=plain, split="val"))) == {"test/c"}
    with pytest.raises(DatasetError, match=r"no dev\.txt"):
        open_caption_source(path, columns=plain, split="dev")


def test_coco_takes_the_part_that_is_asked_for(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "data")
    file = path / "annotations/captions_train2017.json"
    (path / "val2017").mkdir()
    (path / "val2017/z.jpg").write_bytes(image_bytes(0))
    content = {"images": [{"id": 0, "file_name": "z.jpg"}], "annotations": [{"image_id": 0, "caption": "z"}]}
    (file.parent / "captions_val2017.json").write_text(json.dumps(content))
    assert set(records_of(open_caption_source(path))) == {*NAMES, "z"}
    assert set(records_of(open_caption_source(path, split="val2017"))) == {"z"}


def test_files_of_coco_that_are_none_and_images_that_are_nowhere_are_explained(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "data")
    file = path / "annotations/captions_train2017.json"
    (path / "train2017").rename(path / "elsewhere")
    with pytest.raises(DatasetError, match=r"expected a folder train2017/ or images/train2017/"):
        open_caption_source(file)
    file.write_text('{"images": []}')
    with pytest.raises(DatasetError, match=r"KeyError.*Give captions_\*\.json, not instances"):
        open_caption_source(file)


def test_a_folder_with_tables_and_texts_says_which_it_reads(tmp_path: Path) -> None:
    path = write_texts(tmp_path / "data")
    write_csv(path)
    assert open_caption_source(path).notes == ["4 text files are not read: metadata.csv has the captions"]


def test_lists_beside_pairs_are_no_captions(tmp_path: Path) -> None:
    path = tmp_path / "data"
    write_images(path, ["sub/c"])
    (path / "sub/c.txt").write_text("c")
    (path / "classes.txt").write_text("cat\n")
    source = open_caption_source(path)
    assert (list(source.invalid), source.notes) == ([], ["not looked at in data/: 1 .txt (classes.txt)"])


@pytest.mark.filterwarnings("ignore:a record cannot be used")
def test_a_folder_of_any_layout_trains(path: Path, tmp_path: Path) -> None:
    data = open_captions(path, batch_size=4, size=16, invalid_log=tmp_path / "log")
    (batch,) = data.batches(start_step=0, stop_step=1)
    assert sorted(batch.captions or ()) == sorted(CAPTIONS)


def test_own_folders_stay_what_they_were(tmp_path: Path) -> None:
    source = open_caption_source(write_folder(tmp_path / "f", count=3, captions=2))
    assert source.read(1).captions == ("caption 0 of 1", "caption 1 of 1")
    assert (source.kind, source.read(1).shard) == ("folder", "images")
