"""Polygons of label maps, and masks of polygons.

Outlines run along the edges of pixels: filled again they give the same pixels. A hole is joined to its outline by a
line there and back, because most formats know no holes.
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


def trace(label_map: UInt16[np.ndarray, "H W"]) -> Iterator[tuple[int, Float64[np.ndarray, "N 2"]]]:
    """Return label and outline of every connected region; void has none.

    Args:
        label_map: Class index per pixel; 65535 = void. Pixels are connected by their sides.

    Returns:
        Points ``x, y`` in pixels from the upper left corner, without the first again at the end; holes are joined to it.

    Raises:
        MissingPackageError: rasterio is not installed.
    """
    features = _rasterio_features()
    inside = label_map != IGNORE_INDEX
    for geometry, label in features.shapes(label_map, mask=inside, connectivity=4):
        outline, *holes = (np.asarray(ring[:-1], np.float64) for ring in geometry["coordinates"])
        yield int(label), _join(outline, holes)


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
    """Join holes to an outline where they are nearest to it."""
    for hole in holes:
        # The hole's upper left point looks left: some point of what is joined already is near.
        start = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        near = int(((outline - hole[start]) ** 2).sum(1).argmin())
        around = np.roll(hole, -start, axis=0)
        outline = np.concatenate(
            [outline[: near + 1], around, around[:1], outline[near : near + 1], outline[near + 1 :]]
        )
    return outline


def _rasterio_features() -> Any:
    try:
        from rasterio import features
    except ImportError as error:
        raise MissingPackageError.of("rasterio", doing="tracing outlines", extra="formats") from error
    return features
