"""LabelMe: one JSON an image, beside it. Polygons, rectangles, circles and masks are regions; points and lines are not.

The format is that of labelme 5 (https://github.com/wkentaro/labelme).
"""

import base64
import binascii
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.data.formats.annotations import (
    AnnotationSet,
    LabelledImage,
    ListedImage,
    Regions,
    annotation_error,
    background_of,
    reader_of,
    size_of,
)
from lexiseg.data.formats.coco_reading import read_annotation_json
from lexiseg.data.formats.polygons import ellipse, trace
from lexiseg.data.image_files import PassedOver, walk_files

_IGNORED = "__ignore__"
#: LabelMe rounds points down, and paints the pixels that they and the lines between them fall on. Where it fills a narrow hole
#: with them, the smaller region that lies there is painted after it.
_INSET = 0.01


def read_labelme(folder: Path) -> AnnotationSet:
    """Read a folder of LabelMe's JSON files, with its subfolders; classes are in the order of their names.

    Raises:
        DatasetError: No file in it is one.
    """
    skipped = PassedOver()
    contents: list[tuple[Path, dict[str, Any]]] = []
    for relative in walk_files(folder, PassedOver()):
        if not relative.lower().endswith(".json"):
            continue
        path = folder / relative
        try:
            content = read_annotation_json(path)
        except ValueError:
            skipped.add("damaged JSON", relative)
            continue
        if is_labelme(content):
            contents.append((path, content))
        else:
            skipped.add("JSON of another kind", relative)
    if not contents:
        expected = "JSON files with shapes and imagePath"
        raise annotation_error(folder, skipped.text() or "no JSON", expected, "Check the path.")
    used = {
        str(shape.get("label"))
        for _, content in contents
        for shape in content["shapes"]
        if isinstance(shape, dict)
    }
    names = tuple(sorted(used - {_IGNORED}))
    labels: dict[str, int | None] = {name: label for label, name in enumerate(names)}
    labels[_IGNORED] = None
    background = background_of(names)
    images = []
    for path, content in contents:
        size = size_of(content.get("imageHeight"), content.get("imageWidth"))
        where = path.relative_to(folder).as_posix()
        regions = Regions(where, size, skipped)
        for shape in content["shapes"]:
            _add(regions, shape, labels)
        name = Path(str(content["imagePath"]).replace("\\", "/")).name  # written as "../images/a.jpg" by some
        parent = path.parent.relative_to(folder).as_posix()
        images.append(
            ListedImage(
                file_name=name if parent == "." else f"{parent}/{name}",
                read=reader_of(regions.found, background, size),
                size=size,
            )
        )
    return AnnotationSet(format="labelme", names=names, images=tuple(images), skipped=skipped)


def is_labelme(content: Any) -> bool:
    """Return whether JSON is one of LabelMe's files."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def write_labelme(images: Iterable[LabelledImage], names: Sequence[str], out: Path) -> int:
    """Write one JSON an image into a folder, with a polygon for every connected region.

    ``imagePath`` is the image's file name: LabelMe looks for it beside the JSON.

    Returns:
        The number of polygons.

    Raises:
        OutputError: A file cannot be written.
        MissingPackageError: rasterio is not installed.
    """
    count = 0
    for image in images:
        shapes = [
            {
                "label": names[label],
                "points": outline.round(2).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for label, outline in sorted(trace(image.label_map, _INSET), key=lambda each: -_area(each[1]))
        ]
        count += len(shapes)
        height, width = image.label_map.shape
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(image.file_name).name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        with atomic_path(out / f"{image.stem}.json") as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return count


def _area(outline: Float64[np.ndarray, "_ 2"]) -> float:
    x, y = outline.T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2


def _add(regions: Regions, shape: Any, labels: dict[str, int | None]) -> None:
    if not isinstance(shape, dict) or not isinstance(shape.get("points"), list):
        regions.skip("shape without points")
        return
    label, kind, points = labels[str(shape.get("label"))], shape.get("shape_type", "polygon"), shape["points"]
    try:
        flat = [float(value) for point in points for value in point]
    except (TypeError, ValueError, OverflowError):
        regions.skip("outline that is no list of numbers")
        return
    if kind == "polygon":
        regions.add_outlines(label, [flat])
    elif kind == "rectangle" and len(flat) == 4:
        left, top, right, bottom = flat
        regions.add_outlines(label, [[left, top, right, top, right, bottom, left, bottom]])
    elif kind == "circle" and len(flat) == 4:
        radius = math.hypot(flat[2] - flat[0], flat[3] - flat[1])
        regions.add_outlines(label, [ellipse(flat[0], flat[1], radius, radius)])
    elif kind == "mask" and len(flat) == 4 and isinstance(shape.get("mask"), str):
        _add_mask(regions, label, shape["mask"], flat)
    else:
        regions.skip(f"shape of kind {str(kind)[:20]}, which has no area")


def _add_mask(regions: Regions, label: int | None, text: str, box: list[float]) -> None:
    """Add a mask: a PNG in base64, of the size of its box."""
    try:
        data = io.BytesIO(base64.b64decode(text, validate=True))
        mask = decode(data, lambda image: np.asarray(image.convert("L")) > 0, ("PNG",))
        left, top = round(box[0]), round(box[1])
    except (binascii.Error, OSError, DamagedImageError, ValueError, OverflowError):
        regions.skip("mask that is no PNG")
        return
    regions.add_patch(label, (mask, left, top))
