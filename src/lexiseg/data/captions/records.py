"""What every kind of caption data gives: records by number, and a list of what is broken."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError


class InvalidReason(StrEnum):
    """Why a record cannot be used."""

    ARCHIVE = "unreadable file"
    TRUNCATED = "file cut off"
    NO_IMAGE = "no image"
    NO_CAPTION = "no caption"
    EMPTY_CAPTION = "empty caption"
    NOT_UTF8 = "caption not UTF-8"
    BAD_JSON = "caption not JSON"
    LONG_CAPTION = "caption too long"
    IMAGE = "unreadable image"
    SIZE = "image size"
    TWICE = "two files for one record"
    DOTTED = "dot in the name"
    TEXT = "caption that cannot be read"
    OTHER = "record that cannot be read"


@dataclass(frozen=True)
class InvalidRecord:
    """A record that cannot be used.

    Attributes:
        shard: Name of its file.
        key: Name of the record there; empty where the whole file is meant.
        reason: Why, one of a few.
        detail: Why exactly, or empty.
    """

    shard: str
    key: str
    reason: InvalidReason
    detail: str = ""


@dataclass(frozen=True)
class RawRecord:
    """A record as it is stored.

    Attributes:
        shard: Name of its file.
        key: Name of the record there.
        image: Content of the image file, not decoded.
        captions: One or more, none empty, white space made single.
    """

    shard: str
    key: str
    image: bytes
    captions: tuple[str, ...]

    @property
    def source(self) -> str:
        """Where it came from, for messages."""
        return f"{self.shard}#{self.key}"


@dataclass(frozen=True, kw_only=True)
class CaptionColumns:
    """What the parts of a record are called, where it is not what is usual.

    Attributes:
        image: Column of images or of their paths in Parquet and metadata files; None looks for a usual name.
        caption: Column of captions there, key in the .json of a shard or beside an image; None looks for one.
        key: Column of names of records in Parquet and metadata files; None counts rows, or takes the image's name.
    """

    image: str | None = None
    caption: str | None = None
    key: str | None = None


#: Names of captions, the likeliest first.
CAPTION_NAMES = (
    "caption", "captions", "text", "texts", "TEXT", "sentence", "sentences", "alt_text", "description",
)  # fmt: skip


class CaptionSource(ABC):
    """Records in a fixed order, read one at a time.

    Attributes:
        kind: ``tar``, ``parquet`` or ``folder``.
        path: Path as it was given.
        sizes: Records of each shard, in the order of record numbers. A shard is what lies together:
            a tar file, a row group, a folder.
        window: Records over which an epoch is shuffled at once: a good trade of mixing for locality.
        invalid: What was found broken on opening; these are not counted in ``sizes``.
        notes: What was not looked at, and what the data says of itself, a sentence each.
        files: Files that images are read from: image files, tar shards, Parquet.
    """

    kind: str
    path: str
    sizes: Sequence[int]
    window: int
    invalid: Sequence[InvalidRecord]
    notes: list[str]
    files: Sequence[Path]

    def __len__(self) -> int:
        return sum(self.sizes)

    def read(self, index: int) -> RawRecord | InvalidRecord:
        """Read one record; threads may read at once, and processes after a fork. Raises nothing for what it finds."""
        try:
            return self._read(index)
        except Exception as error:  # damaged data makes libraries raise anything
            return InvalidRecord(self.path, f"record {index:,}", InvalidReason.OTHER, said(error))

    @abstractmethod
    def _read(self, index: int) -> RawRecord | InvalidRecord:
        """Read one record."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash what the records are, without reading images: 64 hexadecimal digits."""

    def describe(self) -> dict[str, Any]:
        """Return what a person should know of the data, as plain values."""
        return {"kind": self.kind, "path": self.path, "shards": len(self.sizes), "records": len(self)}


def said(error: Exception) -> str:
    """Return what an error that is not ours says, with its kind, in at most 300 characters."""
    return f"{type(error).__name__}: {error}"[:300]


def choose_column(file: Path, names: list[str], asked: str | None, usual: Sequence[str], what: str) -> str:
    """Return the name of a column: the one asked for, or the first usual one that is there.

    Raises:
        DatasetError: It is not there.
    """
    found = asked if asked in names else None if asked else next((n for n in usual if n in names), None)
    if found is None:
        raise DatasetError(
            doing=f"looking for the column of {what} in {file}",
            found=f"the columns {', '.join(names)}",
            expected=asked or f"one of {', '.join(usual)}",
            fix="Name it: --image-column NAME, --caption-column NAME, --key-column NAME, or CaptionColumns in Python.",
        )
    return found
