"""The formats of other tools by name: reading annotations where they lie, and writing label maps for them."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX_8BIT
from lexiseg.core.errors import DatasetError, UnknownNameError
from lexiseg.core.file_names import name_key, why_unsafe
from lexiseg.core.vocabulary import Vocabulary, as_lines
from lexiseg.data.formats.annotations import AnnotationSet, LabelledImage, annotation_error
from lexiseg.data.formats.coco import CocoCategories, write_coco, write_panoptic
from lexiseg.data.formats.coco_reading import read_annotation_json, read_coco
from lexiseg.data.formats.cvat import read_cvat, write_cvat
from lexiseg.data.formats.label_studio import is_label_studio, read_label_studio, write_label_studio
from lexiseg.data.formats.labelme import is_labelme, read_labelme, write_labelme
from lexiseg.data.formats.table import write_table
from lexiseg.data.formats.voc import LABEL_FOLDER, read_voc, write_palette_png, write_voc
from lexiseg.data.formats.yolo import read_yolo, write_yolo
from lexiseg.data.image_files import PassedOver, is_image_name, walk_files
from lexiseg.data.label_files import voc_colours
from lexiseg.data.published.label_encodings import write_values

_YAML_NAMES = ("data.yaml", "dataset.yaml", "data.yml")
_SUFFIXES = (".json", ".xml", ".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that label maps can be written in.

    Attributes:
        title: What it is, for help.
        write: Takes images, categories and the file or folder; returns how many regions or files there are.
        counted: What is counted.
        suffix: Of the file; empty for a folder.
    """

    title: str
    write: Callable[[Iterable[LabelledImage], CocoCategories, Path], int]
    counted: str = "regions"
    suffix: str = ""


def _named(write: Callable[..., int], **settings: Any) -> Callable[..., int]:
    """Return a writer that takes categories as one that takes their names."""
    return lambda images, categories, out: write(images, categories.names, out, **settings)


def write_png_folder(images: Iterable[LabelledImage], names: Sequence[str], out: Path) -> int:
    """Write a data folder of ours: classes.txt and labels/ with index PNGs, coloured up to 255 classes, else of 16 bits.

    Returns:
        The number of label maps.

    Raises:
        OutputError: A file cannot be written.
    """
    count = 0
    palette = voc_colours()
    for image in images:
        count += 1
        path = out / "labels" / f"{image.stem}.png"
        if len(names) <= IGNORE_INDEX_8BIT:
            write_palette_png(image.label_map, path, palette)
        else:
            write_values(path, image.label_map, 16)
    with atomic_path(out / "classes.txt") as temporary:
        lines = as_lines(Vocabulary(names=tuple(names)))
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return count


FORMATS: dict[str, Format] = {
    "coco": Format(
        title="COCO data set: images, categories and masks as run lengths",
        write=lambda images, categories, out: write_coco(images, categories, out, layout="dataset"),
        counted="masks",
        suffix=".json",
    ),
    "coco-results": Format(
        title="COCO results: the list that COCO.loadRes reads", write=write_coco, counted="masks", suffix=".json"
    ),
    "coco-panoptic": Format(title="COCO panoptic: JSON and PNGs", write=write_panoptic, counted="segments", suffix=".json"),
    "voc": Format(title="PASCAL VOC: palette PNGs and labelmap.txt", write=_named(write_voc), counted="label maps"),
    "yolo": Format(title="YOLO segments: data.yaml and labels/", write=_named(write_yolo), counted="polygons"),
    "labelme": Format(title="LabelMe: a JSON an image", write=_named(write_labelme), counted="polygons"),
    "cvat": Format(title="CVAT for images 1.1: polygons", write=_named(write_cvat), counted="polygons", suffix=".xml"),
    "cvat-masks": Format(
        title="CVAT for images 1.1: masks", write=_named(write_cvat, masks=True), counted="masks", suffix=".xml"
    ),
    "label-studio": Format(
        title="Label Studio: polygons as predictions", write=_named(write_label_studio), counted="polygons", suffix=".json"
    ),
    "label-studio-brush": Format(
        title="Label Studio: brush masks as predictions",
        write=_named(write_label_studio, brush=True),
        counted="masks",
        suffix=".json",
    ),
    "table": Format(
        title="a Parquet table: a row for every class of every image",
        write=_named(write_table),
        counted="rows",
        suffix=".parquet",
    ),
    "png": Format(
        title="a data folder of Lexiseg: classes.txt and labels/", write=_named(write_png_folder), counted="label maps"
    ),
}  # fmt: skip


def known_format(name: str) -> Format:
    """Look up a format.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in FORMATS:
        raise UnknownNameError.of("format", name, FORMATS)
    return FORMATS[name]


def find_annotations(path: Path) -> AnnotationSet | None:
    """Read what another tool left at a path; None for a data folder of ours, or where there is nothing that is known.

    Args:
        path: A JSON, XML or YAML; or a folder that holds one (also in annotations/), LabelMe's files, or SegmentationClass/.

    Raises:
        DatasetError: A file is of such a kind, and cannot be used; or a folder holds several.
    """
    if path.is_file():
        return _read_file(path) if path.suffix.lower() in _SUFFIXES else None
    if not path.is_dir() or ((path / "classes.txt").is_file() and (path / "images").is_dir()):
        return None
    for name in _YAML_NAMES:
        if (path / name).is_file():
            return read_yolo(path / name)
    if (path / LABEL_FOLDER).is_dir():
        return read_voc(path)
    if (path / "annotations.xml").is_file():
        return read_cvat(path / "annotations.xml")
    files = [file for folder in (path, path / "annotations") for file in sorted(folder.glob("*.json"))]
    if not files:
        return None
    known: list[Path] = []
    first: Any = None
    for file in files:
        try:
            content = read_annotation_json(file)
        except DatasetError:
            continue
        kind = _kind_of(content)
        if kind == "labelme" and file == files[0]:
            return read_labelme(path)
        if kind in ("coco", "label-studio"):
            known.append(file)
            first = content if first is None else first  # large ones are read once
    if len(known) > 1:
        found = f"{len(known)} annotation files: {', '.join(file.name for file in known[:4])}"
        raise annotation_error(path, found, "one", "Name the file instead of the folder.")
    return _read_json(known[0], first) if known else None


def locate_images(annotations: AnnotationSet, path: Path) -> tuple[Path, dict[str, Path], list[int]]:
    """Find the image files that annotations name.

    A name is looked for below the folder of the data set, below its images/, and, where it is the only one there, by its last
    part.

    Args:
        annotations: What was read.
        path: The file or folder that it was read from.

    Returns:
        The folder of the data set; the file of each stem that was found, where stems are names without suffix; and the
        places of these in ``annotations.images``, in the same order. What is not found is counted in ``annotations.skipped``.

    Raises:
        DatasetError: No image was found, or two have one stem.
    """
    root = path.parent if path.is_file() else path
    root = root.parent if root.name == "annotations" else root
    by_name: dict[str, list[Path]] = defaultdict(list)
    for relative in walk_files(root, PassedOver()):
        if is_image_name(relative):
            by_name[name_key(os.path.basename(relative))].append(root / relative)
    found: dict[str, Path] = {}
    places = []
    for place, image in enumerate(annotations.images):
        if problem := why_unsafe(image.file_name):
            annotations.skipped.add(f"image with {problem}", image.file_name)
            continue
        file = _locate(image.file_name, root, by_name)
        if file is None:
            annotations.skipped.add("image that is not there", image.file_name)
            continue
        stem = name_key(Path(image.file_name).with_suffix("").as_posix())
        if stem in found:
            what = f"2 images of the stem {stem!r}"
            raise annotation_error(path, what, "one image a stem", "Rename one of them.")
        found[stem] = file
        places.append(place)
    if not found:
        raise DatasetError(
            doing=f"reading the annotations {path}",
            found=f"none of its {len(annotations.images):,} images below {root}: {annotations.skipped.text()}",
            expected="the image files in that folder, its images/ or another folder in it",
            fix="Put the images beside the annotations.",
        )
    return root, found, places


def _locate(name: str, root: Path, by_name: dict[str, list[Path]]) -> Path | None:
    for folder in (root, root / "images"):
        if os.path.isfile(folder / name):  # False for names that no file can have
            return folder / name
    alike = by_name.get(name_key(os.path.basename(name)), [])
    return alike[0] if len(alike) == 1 else None


def _read_file(path: Path) -> AnnotationSet:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return read_cvat(path)
    if suffix in (".yaml", ".yml"):
        return read_yolo(path)
    return _read_json(path, read_annotation_json(path))


def _read_json(path: Path, content: Any) -> AnnotationSet:
    kind = _kind_of(content)
    if kind == "label-studio":
        return read_label_studio(path, content)
    return read_labelme(path.parent) if kind == "labelme" else read_coco(path, content)


def _kind_of(content: Any) -> str | None:
    """Return the format of a JSON's content; None where it is none that is known."""
    if is_labelme(content):
        return "labelme"
    if is_label_studio(content):
        return "label-studio"
    is_coco = isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()
    return "coco" if is_coco else None
