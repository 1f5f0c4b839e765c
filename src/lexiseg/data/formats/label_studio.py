"""Label Studio's JSON: polygons in per cent of the image, and brush masks.

Brush masks are packed as by thi.ng's rle-pack (https://docs.thi.ng/umbrella/rle-pack/): runs of RGBA bytes in a string of
bits, of which the alpha channel is the mask.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Bool

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX, MAX_PIXELS
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
from lexiseg.data.formats.polygons import trace
from lexiseg.data.image_files import PassedOver

#: Label Studio puts eight hexadecimal digits before the name of an uploaded file.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_KINDS = {"polygonlabels": "polygon", "brushlabels": "brush", "rectanglelabels": "rectangle"}
_HEAD = 32 + 5 + 4 * 4
#: Bits of the four sizes that a run's length may have.
_SIZES = (3, 4, 8, 16)


def read_label_studio(path: Path, tasks: Any) -> AnnotationSet:
    """Read a JSON export; of each task the first annotation that was not cancelled, or else the first prediction.

    Args:
        path: The file.
        tasks: What ``read_annotation_json`` read there.

    Raises:
        DatasetError: It is no such file.
    """
    if not is_label_studio(tasks):
        expected = "a list of tasks with data and annotations"
        raise annotation_error(path, "JSON of another kind", expected, 'Export as "JSON", not "JSON-MIN".')
    skipped = PassedOver()
    results = [(_file_name(task), _results(task)) for task in tasks]
    used = {name for _, regions in results for region in regions if (name := _label(region))}
    names = tuple(sorted(used))
    labels = {name: label for label, name in enumerate(names)}
    background = background_of(names)
    images: list[ListedImage] = []
    for name, found in results:
        if not name:
            skipped.add("task without an image", str(len(images) + 1))
            continue
        size = next(
            (s for r in found if (s := size_of(r.get("original_height"), r.get("original_width")))), None
        )
        regions = Regions(name, size, skipped)
        for region in found:
            _add(regions, region, labels, size)
        images.append(ListedImage(file_name=name, read=reader_of(regions.found, background, size), size=size))
    return AnnotationSet(format="label-studio", names=names, images=tuple(images), skipped=skipped)


def is_label_studio(content: Any) -> bool:
    """Return whether JSON is a list of Label Studio's tasks."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(
            isinstance(task, dict)
            and isinstance(task.get("data"), dict)
            and isinstance(task.get("annotations", task.get("predictions")), list)
            for task in content
        )
    )


def write_label_studio(
    images: Iterable[LabelledImage], names: Sequence[str], out: Path, *, brush: bool = False
) -> int:
    """Write tasks with predictions, to be imported and corrected: a polygon a region, or a brush mask a class.

    A labelling configuration has ``Image name="image"`` and ``PolygonLabels`` or ``BrushLabels`` with ``name="label"``.
    ``data.image`` is the image's file name: put the address of your storage before it.

    Returns:
        The number of regions.

    Raises:
        OutputError: The file cannot be written.
        MissingPackageError: rasterio is not installed; brush masks do without.
    """
    count = 0
    kind = "brushlabels" if brush else "polygonlabels"
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, image in enumerate(images):
            height, width = image.label_map.shape
            values = _brushes(image) if brush else _polygons(image)
            results = [
                {
                    "id": f"r{number}-{place}",
                    "type": kind,
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": {**value, kind: [names[label]]},
                    **({"score": image.scores[label]} if label in image.scores else {}),
                }
                for place, (label, value) in enumerate(values)
            ]
            count += len(results)
            task = {
                "data": {"image": image.file_name},
                "predictions": [{"model_version": "lexiseg", "result": results}],
            }
            file.write(("," if number else "") + "\n" + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")
    return count


def pack_brush(mask: Bool[np.ndarray, "H W"]) -> list[int]:
    """Return a mask as Label Studio's brush writes it: bytes of a packed RGBA image with the mask as alpha."""
    # All channels are the mask, so that runs are four times as long as the mask's own.
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    bits: list[tuple[int, int]] = [(4 * flat.size, 32), (8 - 1, 5), *((size - 1, 4) for size in _SIZES)]
    longest = 1 << _SIZES[-1]
    for start, end in itertools.pairwise(starts.tolist()):
        value, left = 255 * int(flat[start]), 4 * (end - start)
        while left:
            length = min(left, longest)
            size = next(place for place, room in enumerate(_SIZES) if length <= 1 << room)
            bits += [(1, 1), (size, 2), (length - 1, _SIZES[size]), (value, 8)]
            left -= length
    text = "".join(format(value, f"0{room}b") for value, room in bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def unpack_brush(packed: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "H W"] | None:
    """Return the mask of Label Studio's brush; None where it is damaged or of another size.

    Args:
        packed: Bytes as the JSON has them.
        size: Height and width.
    """
    try:
        data = np.frombuffer(bytes(packed), np.uint8)
    except (TypeError, ValueError):
        return None
    text = "".join(map(str, np.unpackbits(data).tolist()))
    num = 4 * size[0] * size[1]
    if len(text) < _HEAD or int(text[:32], 2) != num:
        return None
    word = int(text[32:37], 2) + 1
    rooms = [int(text[37 + 4 * place : 41 + 4 * place], 2) + 1 for place in range(4)]
    values = np.zeros(num, np.uint8)
    at, place = _HEAD, 0
    while place < num:
        if at + 3 > len(text):
            return None
        room = rooms[int(text[at + 1 : at + 3], 2)]
        is_run, at = text[at] == "1", at + 3
        if at + room + word > len(text):
            return None
        length, at = int(text[at : at + room], 2) + 1, at + room
        if place + length > num:
            return None
        for step in range(1 if is_run else length):
            value = int(text[at : at + word] or "0", 2) & 255
            at += word
            values[place + step : place + (length if is_run else step + 1)] = value
        place += length
    mask: Bool[np.ndarray, "H W"] = values.reshape(*size, 4)[..., 3] > 127
    return mask


def _polygons(image: LabelledImage) -> Iterator[tuple[int, dict[str, Any]]]:
    height, width = image.label_map.shape
    for label, outline in trace(image.label_map):
        yield label, {"points": (outline * (100 / width, 100 / height)).tolist(), "closed": True}


def _brushes(image: LabelledImage) -> Iterator[tuple[int, dict[str, Any]]]:
    for label in np.unique(image.label_map):
        if label != IGNORE_INDEX:
            yield int(label), {"format": "rle", "rle": pack_brush(image.label_map == label)}


def _file_name(task: dict[str, Any]) -> str:
    data = task["data"]
    address = data.get("image") or next(
        (value for value in data.values() if isinstance(value, str) and "." in value), ""
    )
    path = unquote(str(address).partition("?d=")[2] or str(address).partition("?")[0]).replace("\\", "/")
    if "://" in path or path.startswith("/data/"):
        path = path.rpartition("/")[2]
    return _UPLOADED.sub("", path)


def _results(task: dict[str, Any]) -> list[dict[str, Any]]:
    good = [one for one in _objects(task.get("annotations")) if not one.get("was_cancelled")]
    chosen = next(iter([*good, *_objects(task.get("predictions"))]), {}).get("result")
    return [region for region in _objects(chosen) if isinstance(region.get("value"), dict)]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _label(region: dict[str, Any]) -> str | None:
    labels = region["value"].get(str(region.get("type")))
    named = isinstance(labels, list) and bool(labels) and isinstance(labels[0], str)
    return labels[0] or None if named and str(region.get("type")) in _KINDS else None


def _add(
    regions: Regions, region: dict[str, Any], labels: dict[str, int], size: tuple[int, int] | None
) -> None:
    name, value = _label(region), region["value"]
    kind = _KINDS.get(str(region.get("type")))
    if name is None or kind is None:
        regions.skip(f"result of type {str(region.get('type'))[:20]}, which marks no class's area")
        return
    if size is None or size[0] * size[1] > MAX_PIXELS:
        regions.skip("region without original_width and original_height")
        return
    try:
        if kind == "polygon":
            points = [float(part) for point in value["points"] for part in point]
        elif kind == "rectangle":
            left, top = float(value["x"]), float(value["y"])
            right, bottom = left + float(value["width"]), top + float(value["height"])
            points = [left, top, right, top, right, bottom, left, bottom]
    except (KeyError, TypeError, ValueError, OverflowError):
        regions.skip("outline that is no list of numbers")
        return
    if kind == "brush":
        packed = value.get("rle")
        mask = unpack_brush(packed, size) if isinstance(packed, list) else None
        if mask is None:
            regions.skip("brush mask that is damaged or of another size")
        else:
            regions.add_patch(labels[name], (mask, 0, 0))
        return
    scaled = [part * size[(place + 1) % 2] / 100 for place, part in enumerate(points)]
    regions.add_outlines(labels[name], [scaled])
