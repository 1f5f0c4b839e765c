"""CVAT for images 1.1: one XML of all images. Polygons, boxes, ellipses and masks are regions; points, lines and tags are not.

The format is described at https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Bool

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX, MAX_PIXELS
from lexiseg.core.errors import MissingPackageError
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
from lexiseg.data.formats.polygons import ellipse, trace
from lexiseg.data.image_files import PassedOver

_AREALESS = frozenset({"points", "polyline", "tag", "cuboid", "skeleton"})


def read_cvat(path: Path) -> AnnotationSet:
    """Read an XML of CVAT; classes are in the order of its labels, or of their names where it lists none.

    Raises:
        DatasetError: It is no such file.
    """
    try:
        from defusedxml import ElementTree as SafeTree  # refuses entities, which could grow without end
    except ImportError as error:
        raise MissingPackageError.of("defusedxml", doing=f"reading {path}", extra="formats") from error
    try:
        root = SafeTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:  # an encoding that is none
        raise annotation_error(
            path, f"no usable XML ({error})", "an XML of CVAT", "Export it again."
        ) from error
    entries = root.findall("image")
    if root.tag != "annotations" or not entries:
        found = f"<{root.tag[:30]}> with {len(entries)} images"
        raise annotation_error(
            path, found, "<annotations> with <image>s", 'Export as "CVAT for images 1.1", not for video.'
        )
    listed = [element.text or "" for element in root.iterfind("meta//labels/label/name")]
    used = sorted({shape.get("label", "") for entry in entries for shape in entry} - set(listed))
    names = tuple(dict.fromkeys([*listed, *used]))
    labels = {name: label for label, name in enumerate(names)}
    skipped = PassedOver()
    background = background_of(names)
    images = []
    for entry in entries:
        name = entry.get("name", "").replace("\\", "/")
        size = size_of(entry.get("height"), entry.get("width"))
        regions = Regions(name, size, skipped)
        for shape in entry:
            _add(regions, shape, labels.get(shape.get("label", "")))
        images.append(
            ListedImage(
                file_name=name,
                read=reader_of(regions.found, background, size),
                size=size,
                split=(entry.get("subset") or "").lower() or None,
            )
        )
    return AnnotationSet(format="cvat", names=names, images=tuple(images), skipped=skipped)


def write_cvat(
    images: Iterable[LabelledImage], names: Sequence[str], out: Path, *, masks: bool = False
) -> int:
    """Write one XML, with a polygon for every connected region, or with a mask for every class of an image.

    Returns:
        The number of regions.

    Raises:
        OutputError: The file cannot be written.
        MissingPackageError: rasterio is not installed; masks do without.
    """
    count = 0
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        file.write("  <meta><task><labels>\n")
        for name in names:
            text = ElementTree.Element("name")
            text.text = name
            file.write(f"    <label>{ElementTree.tostring(text, encoding='unicode')}</label>\n")
        file.write("  </labels></task></meta>\n")
        for number, image in enumerate(images):
            height, width = image.label_map.shape
            name = quoteattr(image.file_name)
            file.write(f'  <image id="{number}" name={name} width="{width}" height="{height}">\n')
            shapes = _masks(image) if masks else _polygons(image)
            for label, shape in shapes:
                count += 1
                file.write(
                    f'    <{shape} label={quoteattr(names[label])} source="auto" occluded="0" z_order="0"/>\n'
                )
            file.write("  </image>\n")
        file.write("</annotations>\n")
    return count


def _polygons(image: LabelledImage) -> Iterable[tuple[int, str]]:
    for label, outline in trace(image.label_map):
        points = ";".join(f"{x:g},{y:g}" for x, y in outline)
        yield label, f'polygon points="{points}"'


def _masks(image: LabelledImage) -> Iterable[tuple[int, str]]:
    for label in np.unique(image.label_map):
        if label == IGNORE_INDEX:
            continue
        mask = image.label_map == label
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, left = int(rows[0]), int(columns[0])
        part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
        runs = ", ".join(map(str, _row_runs(part)))
        height, width = part.shape
        yield int(label), f'mask rle="{runs}" left="{left}" top="{top}" width="{width}" height="{height}"'


def _row_runs(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Return lengths of alternating runs, zeros first, row by row."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def _add(regions: Regions, shape: ElementTree.Element, label: int | None) -> None:
    if shape.tag in _AREALESS:
        regions.skip(f"{shape.tag}, which has no area")
        return
    try:
        order = float(shape.get("z_order") or 0)
        if shape.tag == "polygon":
            pairs = shape.get("points", "").replace(";", ",").split(",")
            regions.add_outlines(label, [[float(value) for value in pairs]], order)
        elif shape.tag == "box":
            left, top, right, bottom = (
                float(shape.get(side, "nan")) for side in ("xtl", "ytl", "xbr", "ybr")
            )
            regions.add_outlines(label, [[left, top, right, top, right, bottom, left, bottom]], order)
        elif shape.tag == "ellipse":
            x, y, wide, high = (float(shape.get(part, "nan")) for part in ("cx", "cy", "rx", "ry"))
            regions.add_outlines(label, [ellipse(x, y, wide, high)], order)
        elif shape.tag == "mask":
            _add_mask(regions, shape, label, order)
        else:
            regions.skip(f"<{shape.tag[:20]}>, which is not known")
    except (ValueError, OverflowError):
        regions.skip("outline that is no list of numbers")


def _add_mask(regions: Regions, shape: ElementTree.Element, label: int | None, order: float) -> None:
    left, top, width, height = (int(shape.get(part, "")) for part in ("left", "top", "width", "height"))
    runs = [int(count) for count in shape.get("rle", "").split(",")]
    if not 0 < width * height <= MAX_PIXELS or min(width, *runs) < 0 or sum(runs) != width * height:
        regions.skip("mask with damaged run lengths")
        return
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    regions.add_patch(label, (mask, left, top), order)
