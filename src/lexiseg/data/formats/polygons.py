"""Polygons of label maps, and masks of polygons.

Outlines run along the edges of pixels: filled again they give the same pixels. A hole is joined to what lies left of it by
a level line there and back, because most formats know no holes; the line stays within the region.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import MissingPackageError

#: Points further outside than this many times the image are no outline of anything in it, and would take long to fill.
_MOST_OUTSIDE = 4
_MOST_POINTS = 2_000_000
_ELLIPSE_POINTS = 64


def trace(
    label_map: UInt16[np.ndarray, "H W"], inset: float = 0.0
) -> Iterator[tuple[int, Float64[np.ndarray, "N 2"]]]:
    """Return label and outline of every connected region; void has none.

    Args:
        label_map: Class index per pixel; 65535 = void. Pixels are connected by their sides.
        inset: How far outlines lie within their region, below half a pixel. Rounded down, points of an outline that lies a
            little within are the region's own outermost pixels, which is how tools paint that know whole numbers only.

    Returns:
        Points ``x, y`` in pixels from the upper left corner, without the first again at the end; holes are joined to it.

    Raises:
        MissingPackageError: rasterio is not installed.
    """
    features = _rasterio_features()
    inside = label_map != IGNORE_INDEX
    for geometry, label in features.shapes(label_map, mask=inside, connectivity=4):
        rings = [np.asarray(ring[:-1], np.float64) for ring in geometry["coordinates"]]
        if inset:
            rings = [_inset(ring, inset, is_hole=number > 0) for number, ring in enumerate(rings)]
        yield int(label), _join(rings[0], rings[1:])


def fill(
    outlines: Sequence[Float64[np.ndarray, "_ 2"]], height: int, width: int
) -> Bool[np.ndarray, "{height} {width}"]:
    """Return the pixels within polygons, by COCO's rule; within is an odd number of lines away from outside.

    Raises:
        MissingPackageError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingPackageError.of("pycocotools", doing="filling polygons", extra="formats") from error
    runs = mask.frPyObjects([outline.ravel().tolist() for outline in outlines], height, width)
    filled: Bool[np.ndarray, "H W"] = mask.decode(mask.merge(runs)).astype(bool)
    return filled


def ellipse(x: float, y: float, wide: float, high: float) -> list[float]:
    """Return an outline of an ellipse, ``x, y, x, y, …``, from its middle and half axes in pixels."""
    angles = np.arange(_ELLIPSE_POINTS) * (2 * math.pi / _ELLIPSE_POINTS)
    return np.stack([x + wide * np.cos(angles), y + high * np.sin(angles)], 1).ravel().tolist()


def why_no_polygon(outline: Any, size: tuple[int, int] | None) -> tuple[Float64[np.ndarray, "N 2"], str]:
    """Return the points of an outline, and why they are none; the reason is empty for one that can be used.

    Args:
        outline: ``x, y, x, y, …`` in pixels, as a file has it.
        size: Height and width of the image; None where they are not known.
    """
    none = np.zeros((0, 2))
    try:
        points = np.asarray(outline, np.float64)
    except (TypeError, ValueError, OverflowError):
        return none, "outline that is no list of numbers"
    if points.size % 2:
        return none, "outline with an odd number of coordinates"
    if not np.isfinite(points).all():
        return none, "outline with coordinates that are no numbers"
    points = points.reshape(-1, 2)
    if len(points) < 3:
        return none, "outline of fewer than three points"
    if len(points) > _MOST_POINTS:
        return none, f"outline of more than {_MOST_POINTS:,} points"
    reach = _MOST_OUTSIDE * (math.inf if size is None else max(size))
    if np.abs(points).max() > min(reach, 1e6):
        return none, "outline far outside its image"
    return points, ""


def _join(outline: Float64[np.ndarray, "_ 2"], holes: Sequence[Float64[np.ndarray, "_ 2"]]) -> np.ndarray:
    """Join holes to an outline, each where its upper left point sees it when it looks left."""
    starts = [int(np.lexsort((hole[:, 1], hole[:, 0]))[0]) for hole in holes]
    # From left to right: what a hole sees is joined already.
    for hole, start in sorted(zip(holes, starts, strict=True), key=lambda each: tuple(each[0][each[1]])):
        x, y = hole[start]
        ends = np.roll(outline, -1, axis=0)
        low, high = np.minimum(outline, ends), np.maximum(outline, ends)
        sees = (low[:, 0] == high[:, 0]) & (low[:, 0] <= x) & (low[:, 1] <= y) & (y <= high[:, 1])
        edge = int(np.where(sees, low[:, 0], -np.inf).argmax())
        joint = np.array([[outline[edge, 0], y]])
        around = np.roll(hole, -start, axis=0)
        outline = np.concatenate([outline[: edge + 1], joint, around, around[:1], joint, outline[edge + 1 :]])
    return outline


def _inset(ring: Float64[np.ndarray, "N 2"], by: float, *, is_hole: bool) -> Float64[np.ndarray, "N 2"]:
    """Move a ring of level and upright edges into the region that it bounds."""
    along = np.roll(ring, -1, axis=0) - ring
    x, y = ring.T
    is_clockwise = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # as seen: y grows downwards
    turned = np.stack([-along[:, 1], along[:, 0]], 1)  # to the right of each edge, as seen
    inwards = np.sign(turned) * (1 if is_clockwise != is_hole else -1)
    moved: Float64[np.ndarray, "N 2"] = ring + by * np.clip(inwards + np.roll(inwards, 1, axis=0), -1, 1)
    return moved


def _rasterio_features() -> Any:
    try:
        from rasterio import features
    except ImportError as error:
        raise MissingPackageError.of("rasterio", doing="tracing outlines", extra="formats") from error
    return features
