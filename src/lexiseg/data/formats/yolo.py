"""YOLO's segments: data.yaml, and a text a line a region (class, then x y x y … from 0 to 1) in labels/ beside images/.

The format is that of Ultralytics' segmentation data sets (https://docs.ultralytics.com/datasets/segment/).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import ImageError
from lexiseg.core.file_names import why_unsafe
from lexiseg.data.formats.annotations import (
    AnnotationSet,
    LabelledImage,
    ListedImage,
    Reader,
    Regions,
    annotation_error,
    background_of,
    copy_image,
    reader_of,
)
from lexiseg.data.formats.polygons import trace
from lexiseg.data.image_files import PassedOver, is_image_name, walk_files
from lexiseg.data.images import image_size

#: Names that data.yaml has for parts of a data set.
_SPLITS = ("train", "val", "test")
_MAX_BYTES = 16 << 20


def read_yolo(path: Path) -> AnnotationSet:
    """Read a data set by its data.yaml: an image without a text has no region, as in training with it.

    Raises:
        DatasetError: It is no such file, or names no images.
    """
    content = _read_yaml(path)
    names = _names(path, content.get("names"))
    skipped = PassedOver()
    root = _root(path, content.get("path"))
    listed: dict[Path, str | None] = {}
    for split in _SPLITS:
        for place in _as_list(content.get(split)):
            for image in _images(path, root, place):
                listed[image] = split if listed.get(image, split) == split else None  # in several: in none
    images: list[ListedImage] = []
    for image, part in listed.items():
        file_name = image.relative_to(root).as_posix()
        label_file = _label_file(image)
        try:
            size = image_size(image)
        except ImageError:
            skipped.add("image that cannot be read", file_name)
            continue
        read = _reader(label_file, file_name, size, names, skipped)
        images.append(ListedImage(file_name=file_name, read=read, size=size, split=part))
    if not images:
        found = f"no image under {', '.join(str(content.get(split)) for split in _SPLITS)} of {root}"
        raise annotation_error(
            path, found, "images in the folders of train, val or test", "Check path in it."
        )
    return AnnotationSet(format="yolo", names=names, images=tuple(images), skipped=skipped)


def write_yolo(images: Iterable[LabelledImage], names: Sequence[str], out: Path) -> int:
    """Write data.yaml, labels/ with a polygon for every connected region, and images/ where their files are known.

    Returns:
        The number of polygons.

    Raises:
        OutputError: A file cannot be written.
        MissingPackageError: rasterio is not installed.
    """
    count = 0
    for image in images:
        height, width = image.label_map.shape
        lines = []
        for label, outline in trace(image.label_map):
            points = (outline / (width, height)).ravel()
            lines.append(" ".join([str(label), *(f"{value:.8g}" for value in points)]))
        count += len(lines)
        with atomic_path(out / "labels" / f"{image.stem}.txt") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        copy_image(image, out / "images")
    with atomic_path(out / "data.yaml") as temporary:
        content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(names))}
        temporary.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return count


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        found = f"no usable YAML ({str(error)[:100]})"
        raise annotation_error(path, found, "names, train and val", "Write it again.") from error
    if not isinstance(content, dict):
        raise annotation_error(path, "no mapping", "names, train and val", "Write it again.")
    return content


def _names(path: Path, names: Any) -> tuple[str, ...]:
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        found = f"names of type {type(names).__name__}"
        raise annotation_error(
            path, found, "names as a list, or numbered from 0", "Write them in label order."
        )
    return tuple(map(str, names))


def _root(path: Path, given: Any) -> Path:
    """Return the folder that other paths are below: never one outside the file's own, which a moved data set would name."""
    inside = isinstance(given, str) and not why_unsafe(given) and os.path.isdir(path.parent / given)
    return path.parent / given if inside else path.parent


def _as_list(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [place for place in values if isinstance(place, str)]


def _images(path: Path, root: Path, place: str) -> Iterator[Path]:
    """List the images of a folder, or of a text of their paths."""
    relative = place.removeprefix("../")  # exports of Roboflow name folders one above their own
    if problem := why_unsafe(relative):
        raise annotation_error(
            path, f"{problem}: {place}", "paths below the data set", "Change them in the file."
        )
    target = root / relative
    if os.path.isdir(target):
        for name in walk_files(target, PassedOver()):
            if is_image_name(name):
                yield target / name
    elif target.suffix == ".txt" and os.path.isfile(target):
        for line in target.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
            name = line.strip().removeprefix("./")
            if name and not why_unsafe(name) and os.path.isfile(root / name):
                yield root / name


def _label_file(image: Path) -> Path:
    """Return the text of an image: images/ becomes labels/, at its last place in the path."""
    parts = list(image.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _reader(
    path: Path, where: str, size: tuple[int, int] | None, names: Sequence[str], skipped: PassedOver
) -> Reader:
    regions = Regions(where, size, skipped)
    for line in _lines(path, regions):
        values = line.split()
        try:
            label, numbers = int(values[0]), [float(value) for value in values[1:]]
        except (ValueError, OverflowError):
            regions.skip("line that is no list of numbers")
            continue
        if not 0 <= label < len(names):
            regions.skip("region of an unknown class")
        elif len(numbers) == 4:
            regions.skip("box without a mask")
        elif size is not None:
            scaled = [value * size[(place + 1) % 2] for place, value in enumerate(numbers)]
            regions.add_outlines(label, [scaled])
    return reader_of(regions.found, background_of(names), size)


def _lines(path: Path, regions: Regions) -> list[str]:
    if not os.path.isfile(path):
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError):
        regions.skip("text that cannot be read")
        return []
