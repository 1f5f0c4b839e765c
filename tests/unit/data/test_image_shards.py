"""Images in shards: which there are, what they are called, and what cannot be read of them."""

import io
import tarfile
from pathlib import Path

import pytest

from caption_files import image_bytes, write_parquet
from lexiseg.core.errors import DatasetError, ImageError
from lexiseg.data.image_shards import ShardImage, ShardReader, expand_braces, list_shard


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def listed(file: Path, **columns: str) -> dict[str, ShardImage]:
    found = list_shard(file, cache=None, **columns)
    return {
        name: ShardImage(
            file=file,
            name=name,
            place=tuple(found.places[row].tolist()),
            column=found.column,
            problem=found.problems.get(row, ""),
        )
        for row, name in enumerate(found.names)
    }


def test_a_tar_gives_one_image_a_key_with_a_caption_or_without(tmp_path):
    photos = [image_bytes(number) for number in range(4)]
    members = [
        ("a.jpg", photos[0]), ("a.txt", b"a cat"), ("a.seg.png", photos[1]), ("deep/b.JPG", photos[1]),
        ("c.v2.jpg", photos[2]), ("d.json", b"{}"), (".hidden.jpg", photos[3]), ("./e.png", photos[3]),
    ]  # fmt: skip
    found = listed(write_tar(tmp_path / "0.tar", members))
    assert list(found) == ["a.jpg", "deep/b.jpg", "c.v2.jpg", "e.png"]
    reader = ShardReader()
    assert [reader.read(image) for image in found.values()] == photos
    assert str(found["deep/b.jpg"]) == str(tmp_path / "0.tar/deep/b.jpg")


def test_a_name_that_comes_back_is_another_image(tmp_path):
    members = [("a.jpg", image_bytes(0)), ("b.jpg", image_bytes(1)), ("a.jpg", image_bytes(2))]
    found = listed(write_tar(tmp_path / "0.tar", members))
    assert list(found) == ["a.jpg", "b.jpg", "a (2).jpg"]
    assert ShardReader().read(found["a (2).jpg"]) == image_bytes(2)


#: Names that a shard may hold, and what becomes of them.
HOSTILE = [
    ("../up.jpg", "record 0", "leaves the folder"),
    ("a/../../up.jpg", "record 0", "leaves the folder"),
    ("/etc/passwd.jpg", "etc/passwd.jpg", ""),
    ("a//b/./c.jpg", "a/b/c.jpg", ""),
    ("\x1b[2Jx.jpg", "\x1b[2Jx.jpg", ""),
]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize(("name", "taken", "problem"), HOSTILE)
def test_no_name_leaves_the_folder(tmp_path, kind, name, taken, problem):
    if kind == "tar":
        file = write_tar(tmp_path / "0.tar", [(name, image_bytes(0))])
    else:
        file = write_parquet(tmp_path / "0.parquet", {"image": [image_bytes(0)], "key": [name]})
    ((found, image),) = listed(file).items()
    assert found == taken
    if problem:
        with pytest.raises(ImageError, match=problem):
            ShardReader().read(image)
    else:
        assert ShardReader().read(image) == image_bytes(0)


def test_parquet_holds_bytes_or_paths_and_its_rows_have_names(tmp_path):
    photos = [image_bytes(number) for number in range(20)]
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(photos):
        (tmp_path / f"photos/{number}.jpg").write_bytes(photo)
    paths = [f"photos/{number}.jpg" for number in range(20)]
    columns = {
        "keys.parquet": {"image": photos, "key": [f"v1.{number}" for number in range(20)]},
        "rows.parquet": {"image": photos},
        "paths.parquet": {"path": paths},
        "hub.parquet": {"image": [{"bytes": photo, "path": None} for photo in photos], "id": list(range(20))},
    }
    names = {
        "keys.parquet": "v1.3", "rows.parquet": "rows-0000003", "paths.parquet": "photos/3.jpg", "hub.parquet": "3",
    }  # fmt: skip
    for file, content in columns.items():
        found = listed(write_parquet(tmp_path / file, content))
        assert list(found)[3] == names[file]
        reader = ShardReader()
        assert [reader.read(image) for image in found.values()] == photos


def test_what_cannot_be_read_says_why(tmp_path):
    whole = write_tar(tmp_path / "0.tar", [(f"{number}.jpg", image_bytes(number)) for number in range(4)])
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:3000])
    found = listed(tmp_path / "cut.tar")
    assert "rest of the shard" in found
    with pytest.raises(ImageError, match=r"file cut off: .*images before that place are listed"):
        ShardReader().read(found["rest of the shard"])
    (tmp_path / "none.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ImageError, match="not a tar file"):
        ShardReader().read(listed(tmp_path / "none.tar")["rest of the shard"])
    image = listed(whole)["3.jpg"]
    whole.write_bytes(whole.read_bytes()[:2048])
    with pytest.raises(ImageError, match="cut off since it was listed"):
        ShardReader().read(image)
    (tmp_path / "none.parquet").write_bytes(b"x" * 2000)
    assert list(listed(tmp_path / "none.parquet")) == ["rest of the shard"]
    with pytest.raises(DatasetError, match=r"the columns text.*--image-column"):
        listed(write_parquet(tmp_path / "text.parquet", {"text": ["a"]}))
    cells = listed(write_parquet(tmp_path / "cells.parquet", {"image": [None, b""], "key": ["a", "b"]}))
    for name, why in (("a", "an empty cell"), ("b", "an empty file")):
        with pytest.raises(ImageError, match=why):
            ShardReader().read(cells[name])


def test_braces_stand_for_names_unless_a_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expand_braces("{00..02}.tar", "") == ["00.tar", "01.tar", "02.tar"]
    Path("{00..02}.tar").touch()
    assert expand_braces("{00..02}.tar", "") == ["{00..02}.tar"]
