"""Records in Parquet files: a row a record, images as bytes or as paths, read a row group at a time."""

import hashlib
import importlib.util
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError, MissingPackageError
from lexiseg.core.file_names import why_unsafe
from lexiseg.core.time_limit import within_time
from lexiseg.data.captions.decoding import CaptionError, clean_captions
from lexiseg.data.captions.records import (
    CAPTION_NAMES,
    CaptionColumns,
    CaptionSource,
    InvalidReason,
    InvalidRecord,
    RawRecord,
    choose_column,
)
from lexiseg.data.labelled_dataset import add_to_digest

IMAGE_NAMES = (
    "image", "picture", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes",
    "image_path", "path", "file", "file_name", "filename",
)  # fmt: skip
KEY_NAMES = ("key", "__key__", "id", "image_id")

#: Row groups that each process keeps, at most.
_KEPT_BYTES = 512 << 20
#: A larger row group cannot be held, because one row is never read alone.
_MAX_GROUP_BYTES = 1 << 30
_MAX_GROUP_ROWS = 16_000_000
#: Read at once: a dictionary lets each row be as long as all that the file holds of a column.
_BYTES_AT_ONCE = 256 << 20
#: Longer than a row group of the largest size takes from a slow disk; then reading hangs.
_READING_SECONDS = 120.0


class ParquetSource(CaptionSource):
    """Records of several Parquet files; a shard is a row group.

    Memory: each process keeps row groups of up to 512 MB.

    Args:
        path: What was asked for.
        files: The Parquet files, all with the columns of the first.
        columns: Names of columns; None looks for usual ones.

    Raises:
        MissingPackageError: pyarrow is not installed.
        DatasetError: There is no column of images or captions, or a row group is too large.
    """

    kind = "parquet"

    def __init__(self, path: str, files: Sequence[Path], columns: CaptionColumns) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingPackageError.of("pyarrow", doing=f"reading {path}", extra="train")
        self.path = path
        self.files = list(files)
        self.invalid: list[InvalidRecord] = []
        self.notes = []
        self._groups: list[tuple[int, int, int]] = []  # file, row group, first row in the file
        self.sizes: list[int] = []
        self._image = self._caption = ""
        self._key: str | None = None
        num_bytes = 0
        for number, file in enumerate(self.files):
            num_bytes += self._open_file(number, file, columns)
        self._ends = list(accumulate(self.sizes))
        total = sum(self.sizes)
        self.window = (
            20_000 if not total else max(1, min(20_000, int((_KEPT_BYTES / 2) / (num_bytes / total))))
        )
        self._forget()

    def _open_file(self, number: int, file: Path, columns: CaptionColumns) -> int:
        """Note the row groups of a file; return their size in memory, in bytes."""
        from pyarrow import ArrowException, parquet

        try:
            with parquet.ParquetFile(file) as content:
                metadata, names = content.metadata, content.schema_arrow.names
                groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        except (ArrowException, OSError) as error:
            self.invalid.append(
                InvalidRecord(file.name, "", InvalidReason.ARCHIVE, f"not a Parquet file ({error})")
            )
            return 0
        if not self._image:
            self._image = choose_column(file, names, columns.image, IMAGE_NAMES, "images")
            self._caption = choose_column(file, names, columns.caption, CAPTION_NAMES, "captions")
            usual = next((name for name in KEY_NAMES if name in names), None)
            self._key = choose_column(file, names, columns.key, (), "keys") if columns.key else usual
        missing = {self._image, self._caption, self._key or self._caption} - set(names)
        if missing:
            self.invalid.append(
                InvalidRecord(file.name, "", InvalidReason.ARCHIVE, f"no column {', '.join(sorted(missing))}")
            )
            return 0
        first = 0
        for group, facts in enumerate(groups):
            refuse_large_group(file, facts)
            self._groups.append((number, group, first))
            self.sizes.append(facts.num_rows)
            first += facts.num_rows
        return sum(facts.total_byte_size for facts in groups)

    def _read(self, index: int) -> RawRecord | InvalidRecord:
        """Read one row, from its row group."""
        shard = bisect_right(self._ends, index)
        row = index - (self._ends[shard - 1] if shard else 0)
        number, _, first = self._groups[shard]
        name = self.files[number].name
        key = str(first + row)
        if shard in self._endless:
            return InvalidRecord(name, key, InvalidReason.ARCHIVE, self._endless[shard])
        try:
            table = self._table(shard)
        except TimeoutError as error:
            self._endless[shard] = str(error)  # its other rows need not wait
            return InvalidRecord(name, key, InvalidReason.ARCHIVE, str(error))
        except (OSError, ValueError) as error:  # pyarrow's errors are these
            return InvalidRecord(name, key, InvalidReason.ARCHIVE, str(error))
        if self._key is not None:
            key = str(table[self._key][row].as_py())
        try:
            captions = clean_captions(table[self._caption][row].as_py())
        except CaptionError as error:
            return InvalidRecord(name, key, error.reason, error.detail)
        except UnicodeDecodeError as error:
            return InvalidRecord(name, key, InvalidReason.NOT_UTF8, f"byte {error.start}")
        image = image_content(table[self._image][row].as_py(), self.files[number].parent)
        if not isinstance(image, bytes):
            return InvalidRecord(name, key, InvalidReason.NO_IMAGE, image)
        return RawRecord(name, key, image, captions)

    def _table(self, shard: int) -> Any:
        """Return a row group's table, keeping the last ones."""
        if self._process != os.getpid():  # a lock may have been held when the process was forked
            self._forget()
        with self._lock:
            table = self._kept.pop(shard, None)
            if table is None:
                number, group, _ = self._groups[shard]
                names = [self._image, self._caption] + ([self._key] if self._key else [])
                table = read_group(self.files[number], group, names)
            self._kept[shard] = table
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
            return table

    def fingerprint(self) -> str:
        """Hash names, sizes and metadata of the files."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"columns", f"{self._image}|{self._caption}|{self._key}".encode())
        add_to_digest(digest, b"groups", repr((self._groups, self.sizes)).encode())
        for file in self.files:
            add_to_digest(digest, file.name.encode("utf-8", "surrogateescape"), _end_of(file))
        return digest.hexdigest()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._endless: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


def refuse_large_group(file: Path, facts: Any) -> None:
    """Refuse a row group that cannot be held: rows are never read alone.

    Raises:
        DatasetError: It is too large.
    """
    if facts.total_byte_size > _MAX_GROUP_BYTES:
        found, most = f"{facts.total_byte_size / 1e9:.1f} GB", f"{_MAX_GROUP_BYTES / 1e9:.1f} GB"
    elif facts.num_rows > _MAX_GROUP_ROWS:
        found, most = f"{facts.num_rows:,} rows", f"{_MAX_GROUP_ROWS:,} rows"
    else:
        return
    raise DatasetError(
        doing=f"opening {file}",
        found=f"a row group of {found}",
        expected=f"row groups of at most {most}, which are read whole",
        fix="Write the file again with row_group_size=1000.",
    )


def image_content(value: Any, folder: Path) -> bytes | str:
    """Return the content of the image in a cell, bytes or the path of a file in ``folder``, or say what is wrong."""
    if isinstance(value, dict):  # as the Hugging Face hub stores images
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        return "an empty cell" if value is None else f"a {type(value).__name__}"
    if why := why_unsafe(value):
        return f"{value}: {why}; only files in the folder of the Parquet file are read"
    try:
        if not (folder / value).is_file():  # a pipe would wait for ever
            return f"{value}: no file there"
        return (folder / value).read_bytes()
    except (OSError, ValueError) as error:
        return f"{value}: {error}"


def read_group(file: Path, group: int, names: list[str]) -> Any:
    """Read columns of a row group as a table.

    Raises:
        TimeoutError: It does not come to an end.
        OSError, ValueError: It cannot be read, or unpacks to more than a group may have.
    """
    return within_time(lambda: _read_group(file, group, names), _READING_SECONDS)


def _read_group(file: Path, group: int, names: list[str]) -> Any:
    """Read columns of a row group, some rows at a time, and stop where they come to more than a group may have."""
    from pyarrow import Table, parquet

    batches, num_bytes = [], 0
    with parquet.ParquetFile(file) as content:
        stored = max(1, content.metadata.row_group(group).total_byte_size)
        rows = max(1, min(65_536, _BYTES_AT_ONCE // stored))
        # without threads: pyarrow's do not live through a fork
        for batch in content.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
            num_bytes += batch.nbytes
            if num_bytes > _MAX_GROUP_BYTES:
                raise ValueError(f"a row group that unpacks to more than {_MAX_GROUP_BYTES / 1e9:.1f} GB")
            batches.append(batch)
    if not batches:
        raise ValueError("a row group without rows")
    return Table.from_batches(batches).combine_chunks()


def _end_of(file: Path) -> bytes:
    """Return size and last bytes, where the metadata with statistics and offsets is."""
    with file.open("rb") as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(max(0, size - 65_536))
        return str(size).encode() + content.read()
