"""COCO's captions: ``annotations/captions_train2017.json`` beside ``train2017/``, five sentences an image."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import why_unsafe
from lexiseg.core.json_text import read_json_file
from lexiseg.data.captions.folder_listing import FolderListing, ListedRecord
from lexiseg.data.captions.records import InvalidReason

_NAME = re.compile(r"captions_(.+)\.json", re.IGNORECASE)
#: That of 118,000 images has 92 MB.
_MAX_BYTES = 2 << 30


def coco_files(path: Path, split: str | None) -> list[Path]:
    """Return the files with captions of a folder in COCO's layout, of one part of it or of all; none elsewhere."""
    return [
        file
        for folder in (path, path / "annotations")
        if folder.is_dir()
        for file in sorted(folder.glob("*.json"))
        if (match := _NAME.fullmatch(file.name)) and split in (None, match[1])
    ]


def list_coco(files: list[Path], path: Path) -> FolderListing:
    """List the images of COCO's files, each in the folder of its part.

    Args:
        files: The files with captions.
        path: The folder that was asked for.

    Raises:
        DatasetError: A file is none of COCO's, or its images are nowhere.
    """
    listing = FolderListing(kind="coco", list_name=files[0].name)
    for file in files:
        try:
            content = read_json_file(file, _MAX_BYTES)
            names = {entry["id"]: entry["file_name"] for entry in content["images"]}
            sentences: dict[Any, list[Any]] = defaultdict(list)
            for entry in content["annotations"]:
                sentences[entry["image_id"]].append(entry["caption"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                doing=f"reading COCO's captions from {file}",
                found=f"{type(error).__name__}: {error}"[:300],
                expected='{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}',
                fix="Give captions_*.json, not instances_*.json; or copy the file again.",
            ) from error
        folder = _folder_of(file, path, [name for name in names.values() if isinstance(name, str)])
        for number, name in names.items():
            why = why_unsafe(name) if isinstance(name, str) else f"a {type(name).__name__} for its name"
            if why or not (folder / name).is_file():
                listing.mark(file.name, [str(name)], InvalidReason.NO_IMAGE, why)
            elif number not in sentences:
                listing.mark(file.name, [str(name)], InvalidReason.NO_CAPTION)
            else:
                key = Path(name).with_suffix("").as_posix()
                listing.records.append(ListedRecord(folder.name, key, folder / name, sentences[number]))
        unknown = sorted(str(number) for number in set(sentences) - set(names))
        listing.mark(file.name, unknown, InvalidReason.NO_IMAGE, "an image_id without an entry in images")
    return listing


def _folder_of(file: Path, path: Path, names: list[str]) -> Path:
    """Return the folder that holds the first image: usual places beside the file."""
    match = _NAME.fullmatch(file.name)
    part = match[1] if match else file.stem
    roots = list(dict.fromkeys([path, file.parent, file.parent.parent]))
    places = [root / below for root in roots for below in (part, f"images/{part}", "images", ".")]
    for place in places:
        if any((place / name).is_file() for name in names[:20] if not why_unsafe(name)):
            return place
    raise DatasetError(
        doing=f"looking for the images of {file}",
        found=f"none of them ({', '.join(names[:2]) or 'the file names no image'})",
        expected=f"a folder {part}/ or images/{part}/ beside annotations/, or images/ beside the file",
        fix="Unpack the images there, or put a link.",
    )
