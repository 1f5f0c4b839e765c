"""The Hugging Face hub's folders of images: ``metadata.csv`` or ``metadata.jsonl`` with a ``file_name`` a row."""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import name_key, why_unsafe
from lexiseg.core.json_text import decode_json
from lexiseg.data.captions.folder_listing import FolderListing, ListedRecord
from lexiseg.data.captions.records import (
    CAPTION_NAMES,
    CaptionColumns,
    InvalidReason,
    choose_column,
    said,
)
from lexiseg.data.image_files import is_image_name

METADATA_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_IMAGE_NAMES = ("file_name", "filename", "image", "image_path", "path", "file")
#: Of one cell: an open quote would otherwise take the rest of the file, ever longer, for a caption.
_MAX_CELL = 1 << 17


def list_metadata(path: Path, tables: list[str], names: list[str], columns: CaptionColumns) -> FolderListing:
    """List the rows of every metadata file below a folder; images are found relative to their own file.

    Args:
        path: The folder.
        tables: Metadata files, relative to it.
        names: All files below it.
        columns: Names of columns.

    Raises:
        DatasetError: A file has no column of images or of captions, or cannot be opened.
    """
    listing = FolderListing(kind="metadata", list_name="metadata")
    by_file: dict[str, list[Any]] = defaultdict(list)
    keys: dict[str, str] = {}
    for table in tables:
        below, rows = os.path.dirname(table), list(_rows(path / table, table, listing))
        if not rows:
            continue
        known = list(dict.fromkeys(name for _, row in rows for name in row))
        image = choose_column(path / table, known, columns.image, _IMAGE_NAMES, "images")
        caption = choose_column(path / table, known, columns.caption, CAPTION_NAMES, "captions")
        key = choose_column(path / table, known, columns.key, (), "keys") if columns.key else None
        for number, row in rows:
            value = row.get(image)
            why = why_unsafe(value) if isinstance(value, str) else f"a {type(value).__name__} for its name"
            if why or not isinstance(value, str):
                listing.mark(table, [f"line {number}"], InvalidReason.NO_IMAGE, why)
                continue
            name = os.path.normpath(os.path.join(below, value))
            found = row.get(caption)
            by_file[name] += found if isinstance(found, list) else [found]
            if key is not None and row.get(key) is not None:
                keys[name] = str(row[key])
    there = {name_key(Path(name).as_posix()): name for name in names if is_image_name(name)}
    wanted = {name_key(Path(name).as_posix()): name for name in by_file}
    listing.mark("metadata", sorted(set(wanted) - set(there)), InvalidReason.NO_IMAGE)
    listing.mark(path.name, sorted(set(there) - set(wanted)), InvalidReason.NO_CAPTION)
    for name in sorted(set(wanted) & set(there)):
        original = wanted[name]
        key_of = keys.get(original, os.path.splitext(name)[0])
        folder = os.path.dirname(name) or path.name
        listing.records.append(ListedRecord(folder, key_of, path / there[name], by_file[original]))
    beside = sum(os.path.splitext(name)[1].lower() in (".txt", ".caption") for name in names)
    if beside:
        listing.notes.append(f"{beside:,} text files are not read: {tables[0]} has the captions")
    return listing


def _rows(file: Path, name: str, listing: FolderListing) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the rows that can be read; the others are noted by their number."""
    try:
        # bytes that are no UTF-8 come through as what no caption may hold, so that one row is lost and not all
        text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DatasetError(
            doing=f"reading {file}",
            found=error.strerror or str(error),
            expected="a file that can be read",
            fix="Check its permissions, or copy it again.",
        ) from error
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = decode_json(line)
            except ValueError as error:
                listing.mark(name, [f"line {number}"], InvalidReason.BAD_JSON, str(error))
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                listing.mark(name, [f"line {number}"], InvalidReason.BAD_JSON, f"a {type(row).__name__}")
        return
    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = csv.field_size_limit(_MAX_CELL)
    try:
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:  # the reader begins anew with the next line
                listing.mark(name, [f"after line {reader.line_num}"], InvalidReason.TRUNCATED, said(error))
                continue
            if row is None:
                return
            yield reader.line_num, {str(key): value for key, value in row.items() if key is not None}
    finally:
        csv.field_size_limit(before)
