"""COCO's annotations as label maps: instances and stuff with polygons or run lengths, and panoptic PNGs.

Labels are the categories in the order of their ids. A file without ``categories`` and ``images`` is a list of results,
which says neither sizes nor names, and is refused.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.coco_rle import RunLengths, encode
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import why_unsafe
from lexiseg.core.image_decoders import DamagedImageError
from lexiseg.core.json_text import read_json_file
from lexiseg.data.formats.annotations import (
    AnnotationSet,
    ListedImage,
    Reader,
    Regions,
    annotation_error,
    background_of,
    reader_of,
    size_of,
)
from lexiseg.data.image_files import PassedOver
from lexiseg.data.png_chunks import decode_whole_png

#: Of a JSON file: instances_train2017.json has 470 MB.
_MAX_BYTES = 2 << 30
_EXPECTED = "a COCO data set: images, annotations and categories"


def read_coco(path: Path, content: Any) -> AnnotationSet:
    """Read a COCO data set: ``instances_*.json``, ``stuff_*.json``, ``panoptic_*.json`` and what tools write alike.

    Args:
        path: The file. The PNGs of a panoptic one lie in a folder of its name beside it, as published.

        content: What ``read_annotation_json`` read there.

    Raises:
        DatasetError: It is no such file.
    """
    wanted = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in wanted):
        found = "a list, as results have it" if isinstance(content, list) else "JSON without these lists"
        raise annotation_error(path, found, _EXPECTED, "Name the data set's file, not results.")
    skipped = PassedOver()
    labels, names = _categories(path, content["categories"])
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
        if isinstance(image_id, int | str):
            by_image[image_id].append(annotation)
        else:
            skipped.add("annotation of no image", f"{image_id!r}"[:40])
    images = []
    for entry in content["images"]:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(entry.get("id"), int | str):
            skipped.add("image without id and file_name", f"{entry!r}"[:40])
            continue
        size = size_of(entry.get("height"), entry.get("width"))
        read = _reader(path, name, size, by_image.pop(entry["id"], []), labels, names, skipped)
        images.append(ListedImage(file_name=name, read=read, size=size))
    for image_id in by_image:
        skipped.add("annotation of no image", f"image {image_id}")
    return AnnotationSet(format="coco", names=names, images=tuple(images), skipped=skipped)


def read_annotation_json(path: Path) -> Any:
    """Read a JSON file of annotations, which may be large.

    Raises:
        DatasetError: It cannot be read, or is no JSON.
    """
    try:
        return read_json_file(path, _MAX_BYTES)
    except (OSError, ValueError) as error:
        raise annotation_error(path, f"no usable JSON ({error})", "JSON", "Export it again.") from error


def _categories(path: Path, entries: list[Any]) -> tuple[dict[Any, int], tuple[str, ...]]:
    known = [
        (entry["id"], entry["name"])
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)
    ]
    if not known or len(known) < len(entries) or len({number for number, _ in known}) < len(known):
        found = f"{len(entries)} categories, {len(known)} with a number and a name, or numbers twice"
        raise annotation_error(path, found, "categories with different ids and names", "Export it again.")
    known.sort()
    return {number: label for label, (number, _) in enumerate(known)}, tuple(name for _, name in known)


def _reader(
    path: Path,
    name: str,
    size: tuple[int, int] | None,
    annotations: list[dict[str, Any]],
    labels: dict[Any, int],
    names: tuple[str, ...],
    skipped: PassedOver,
) -> Reader:
    panoptic = [one for one in annotations if isinstance(one.get("segments_info"), list)]
    if panoptic:
        return _panoptic_reader(path, panoptic[0], labels)
    regions = Regions(name, size, skipped)
    for annotation in annotations:
        category = annotation.get("category_id")
        if not isinstance(category, int) or category not in labels:
            regions.skip("region of an unknown category")
            continue
        _add(regions, labels[category], annotation.get("segmentation"))
    return reader_of(regions.found, background_of(names), size)


def _add(regions: Regions, label: int, segmentation: Any) -> None:
    if isinstance(segmentation, list) and segmentation:
        outlines = segmentation if isinstance(segmentation[0], list) else [segmentation]
        regions.add_outlines(label, outlines)
    elif isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        if (runs := _compressed(segmentation)) is None:
            regions.skip("mask with damaged run lengths")
        else:
            regions.add_runs(label, runs)
    elif isinstance(segmentation, dict):
        regions.add_runs(label, segmentation)
    else:
        regions.skip("box without a mask")


def _compressed(segmentation: dict[str, Any]) -> RunLengths | None:
    """Return uncompressed run lengths as a string; None where they do not fill their size."""
    size = segmentation.get("size")
    pair = size_of(*size) if isinstance(size, list) and len(size) == 2 else None
    counts = segmentation["counts"]
    if pair is None or not all(type(count) is int and count >= 0 for count in counts):
        return None
    if sum(counts) != pair[0] * pair[1]:
        return None
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return encode(np.ascontiguousarray(flat.reshape(pair[1], pair[0]).T))


def _panoptic_reader(path: Path, annotation: dict[str, Any], labels: dict[Any, int]) -> Reader:
    name = str(annotation.get("file_name"))
    file = path.with_suffix("") / name

    def read(image_size: tuple[int, int] | None) -> UInt16[np.ndarray, "H W"]:
        try:
            if why := why_unsafe(name):
                raise DamagedImageError(why)
            colours = decode_whole_png(file, lambda image: np.asarray(image.convert("RGB"), np.uint32))
        except (OSError, DamagedImageError) as error:
            raise DatasetError(
                doing=f"reading the panoptic PNG {file}",
                found=str(error),
                expected="the PNG that the JSON names, in a folder of the JSON's name beside it",
                fix="Unpack the PNGs there.",
            ) from error
        numbers = colours[..., 0] | colours[..., 1] << 8 | colours[..., 2] << 16
        segments, place = np.unique(numbers, return_inverse=True)
        table = np.full(len(segments), IGNORE_INDEX, np.uint16)
        for segment in annotation["segments_info"]:
            number, category = (
                (segment.get("id"), segment.get("category_id")) if isinstance(segment, dict) else (None, None)
            )
            if isinstance(number, int) and isinstance(category, int) and category in labels:
                table[segments == number] = labels[category]
        return table[place.reshape(numbers.shape)]

    return read
