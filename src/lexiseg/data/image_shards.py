"""Images in tar shards and Parquet files: which there are, and the bytes of each.

A tar shard is read in webdataset's layout through the index that captions use (``captions.tar_index``): one image a
key. A Parquet file has a row an image, as bytes or as paths of files beside it. Names come from keys; one that would leave
the folder of results is listed with that problem, and is never a path.
"""

import importlib.util
import os
import posixpath
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from lexiseg.core.errors import DatasetError, ImageError, MissingPackageError
from lexiseg.core.file_names import why_unsafe
from lexiseg.data.captions.packed_keys import PackedKeys
from lexiseg.data.captions.parquet_source import (
    IMAGE_NAMES,
    KEY_NAMES,
    image_content,
    read_group,
    refuse_large_group,
)
from lexiseg.data.captions.records import InvalidReason, choose_column
from lexiseg.data.captions.tar_index import distinct, index_tar
from lexiseg.data.captions.tar_pieces import ShardFiles

_SUFFIXES = (".tar", ".parquet")

#: Tar files that cannot be read from the middle.
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

#: A longer file is no image that could be decoded.
_MOST_BYTES = 1 << 30

#: Row groups that a process keeps: images come in their order, some of the last group after those of the next.
_MOST_GROUPS = 2


def is_shard_name(name: str | os.PathLike[str]) -> bool:
    """Return whether a file's suffix is one of a shard of images."""
    return os.fspath(name).lower().endswith(_SUFFIXES)


def expand_braces(pattern: str, doing: str) -> list[str]:
    """List the names that a pattern such as ``{0000..0099}.tar`` stands for; a file of that very name stands for itself.

    Raises:
        MissingPackageError: There are braces, and webdataset's package for them is not installed.
    """
    if "{" not in pattern or os.path.lexists(pattern):
        return [pattern]
    if importlib.util.find_spec("braceexpand") is None:
        raise MissingPackageError.of("webdataset", doing=doing, extra="train")
    from braceexpand import braceexpand  # a part of webdataset's installation

    return list(braceexpand(pattern))


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardImage:
    """An image in a shard, or why there is none.

    Attributes:
        file: The shard.
        name: Of the image, below the shard.
        place: Where it lies: first byte and number of bytes in a tar file; row group and row in it in Parquet.
        column: Of the images in Parquet.
        problem: Why it cannot be read; empty where it can.
    """

    file: Path
    name: str
    place: tuple[int, int]
    column: str = ""
    problem: str = ""

    @property
    def path(self) -> Path:
        """Return what stands for a path in records and messages: the shard's, and the name in it."""
        return self.file / self.name

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardListing:
    """The images of a shard, in its order.

    Attributes:
        names: Paths below the shard, all different, safe to be joined to a folder.
        places: As ``ShardImage.place``.
        column: As there.
        problems: Why a row is no image, by its number; the name of such a row says where it is.
    """

    names: Sequence[str]
    places: Int64[np.ndarray, "N 2"]
    column: str = ""
    problems: Mapping[int, str]


def list_shard(
    file: Path, *, cache: Path | None, image_column: str | None = None, key_column: str | None = None
) -> ShardListing:
    """List the images of a shard, without reading one.

    Cost: of a tar file about 1 s for 30,000 members the first time, then as good as nothing; of Parquet the column of keys.

    Args:
        file: A tar or Parquet file.
        cache: Folder of remembered indices of tar files; None reads their headers anew.
        image_column: Of images or paths in Parquet; None looks for a usual name.
        key_column: Of names there; None looks for a usual name, takes paths for names, or numbers rows.

    Raises:
        DatasetError: There is no such column, or a row group is too large.
        MissingPackageError: pyarrow is not installed.
    """
    try:
        if file.suffix.lower() == ".parquet":
            return _list_parquet(file, image_column, key_column)
        return _list_tar(file, cache)
    except (OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        return _listing([], [], "", [f"{type(error).__name__}: {error}"])


def _list_tar(file: Path, cache: Path | None) -> ShardListing:
    index = index_tar(file, cache)
    broken = [
        f"{record.reason.value}: {record.detail}; images before that place are listed"
        for record in index.invalid
        if record.reason in (InvalidReason.ARCHIVE, InvalidReason.TRUNCATED)
    ]
    return _listing(list(index.image_names), index.images.tolist(), "", broken)


def _list_parquet(file: Path, image_column: str | None, key_column: str | None) -> ShardListing:
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingPackageError.of("pyarrow", doing=f"reading {file}", extra="train")
    from pyarrow import parquet, types

    names: list[str] = []
    places: list[tuple[int, int]] = []
    with parquet.ParquetFile(file) as content:
        schema = content.schema_arrow
        column = choose_column(file, schema.names, image_column, IMAGE_NAMES, "images")
        usual = next((name for name in KEY_NAMES if name in schema.names), None)
        key = choose_column(file, schema.names, key_column, (), "keys") if key_column else usual
        kind = schema.field(column).type
        if key is None and (types.is_string(kind) or types.is_large_string(kind)):
            key = column  # paths
        for group in range(content.metadata.num_row_groups):
            refuse_large_group(file, content.metadata.row_group(group))
            count = content.metadata.row_group(group).num_rows
            if key is None:
                names += (f"{file.stem}-{len(places) + row:07d}" for row in range(count))
            else:
                table = read_group(file, group, [key])
                names += (str(value) for value in table[key].to_pylist())
            places += ((group, row) for row in range(count))
    return _listing(names, places, column, [])


def _listing(names: list[str], places: list[Any], column: str, broken: Iterable[str]) -> ShardListing:
    """Make names safe, and list what concerns the whole shard as one image that cannot be read."""
    problems: dict[int, str] = {}
    for row, name in enumerate(names):
        # as tar does: an absolute path is taken below the folder
        safe = posixpath.normpath(name.lstrip("/")) if name.strip("/") else ""
        if (why := why_unsafe(safe) or ("an empty name" if safe == "." else "")) or "\0" in name:
            problems[row] = f"the name {name[:200]!r} in its shard: {why or 'a zero byte'}"
            safe = f"record {row}"
        names[row] = safe
    for problem in broken:
        problems[len(names)] = problem
        names.append("rest of the shard")
        places.append((0, 0))
    return ShardListing(
        names=PackedKeys.of(distinct(names)),
        places=np.array(places, np.int64).reshape(-1, 2),
        column=column,
        problems=problems,
    )


class ShardReader:
    """Reads images out of shards; files stay open, and the last row groups in memory."""

    def __init__(self) -> None:
        self._tars = ShardFiles()
        self._groups: OrderedDict[tuple[Path, int, str], Any] = OrderedDict()

    def read(self, image: ShardImage) -> bytes:
        """Read the bytes of an image.

        Raises:
            ImageError: They cannot be read.
        """
        if image.problem:
            raise _unreadable(image, image.problem)
        try:
            data = self._of_parquet(image) if image.column else self._of_tar(image)
        except (OSError, ValueError) as error:
            raise _unreadable(image, str(error)) from error
        if isinstance(data, str):
            raise _unreadable(image, data)
        if not data:
            raise _unreadable(image, "an empty file (0 bytes)")
        return data

    def _of_tar(self, image: ShardImage) -> bytes | str:
        start, length = image.place
        if length > _MOST_BYTES:
            return f"a file of {length:,} bytes"
        data = self._tars.read(image.file, start, length)
        return data if len(data) == length else "a shard that was cut off since it was listed"

    def _of_parquet(self, image: ShardImage) -> bytes | str:
        group, row = image.place
        key = (image.file, group, image.column)
        table = self._groups.pop(key, None)
        if table is None:
            while len(self._groups) >= _MOST_GROUPS:  # before the next is read
                self._groups.popitem(last=False)
            table = read_group(image.file, group, [image.column])
        self._groups[key] = table
        if row >= len(table):
            return "a shard that was changed since it was listed"
        return image_content(table[image.column][row].as_py(), image.file.parent)


def _unreadable(image: ShardImage, found: str) -> ImageError:
    return ImageError(
        doing=f"reading {image}",
        found=found,
        expected="an image in a shard",
        fix="Write the shard again from its source.",
    )
