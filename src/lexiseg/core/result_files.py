"""The files that hold the result of one image: their names, and what tells them from other files."""

import hashlib
import os
from pathlib import Path
from typing import Any

from lexiseg.core.json_text import read_json_file

LABELS, OVERLAY, FACTS = ".labels.png", ".overlay.png", ".json"
#: End of a label map of a raster of a geographic information system.
RASTER_LABELS = ".labels.tif"

#: Folder of results in Parquet shards.
IMAGE_PARTS = "images"

#: Keys that the facts of every result have, and hardly any other JSON.
_MARKS = frozenset({"source", "size", "classes", "vocabulary", "settings"})

#: File systems take 255 bytes a name.
_MAX_BYTES = 255 - len(OVERLAY)
_DIGEST_LETTERS = 12


def result_paths(folder: str | Path, stem: str) -> dict[str, Path]:
    """Return where ``labels``, ``overlay`` and ``json`` of an image belong; ``stem`` may hold folders."""
    base = Path(folder) / shortened(stem)
    return {
        kind: base.with_name(base.name + end)
        for kind, end in (("labels", LABELS), ("overlay", OVERLAY), ("json", FACTS))
    }


def shortened(stem: str) -> str:
    """Cut the last part of a stem that is too long for a file name; a hash keeps it apart from others."""
    folders, slash, name = stem.rpartition("/")
    if len(os.fsencode(name)) <= _MAX_BYTES:
        return stem
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:_DIGEST_LETTERS]
    room = _MAX_BYTES - len(digest) - 1
    name = name[:room]
    while len(os.fsencode(name)) > room:  # a letter may take several bytes
        name = name[:-1]
    return f"{folders}{slash}{name}-{digest}"


def has_parts(folder: Path) -> bool:
    """Return whether a folder holds results in Parquet shards."""
    return next((folder / IMAGE_PARTS).glob("part-*.parquet"), None) is not None


def read_facts(path: str | Path) -> dict[str, Any] | None:
    """Read the facts of a result; None where there are none, or the file is damaged or not ours."""
    try:
        facts = read_json_file(path)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.keys() >= _MARKS else None


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_facts(path: str | Path | None) -> dict[str, Any] | None:
    """Return what tells an image's file from every other: where it is, its size and time of change.

    None where there is no such file.
    """
    if path is None:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return {"path": os.path.realpath(path), "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
