"""Boundary IoU: IoU of bands along the borders of regions (Cheng et al., CVPR 2021).

The band of a class is the set of its pixels that are closer than a distance to a pixel of something
else or to the edge of the image. The distance is a share of the image's diagonal (2 % in the
paper, 3 % in the ImageNet-S evaluator), rounded, at least one pixel, in the chessboard metric (the
paper erodes with a 3 × 3 square). All classes are done in one pass over the label map, so there is
no limit of 255 classes, and every class's band is exactly that of its binary mask.
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, UInt16

from lexiseg.core.compiled import njit
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.row_rle import encode_runs
from lexiseg.metrics.image_counts import OUTSIDE, PairCounts, count_runs

#: Width of the band as a share of the diagonal, as in the paper.
WIDTH = 0.02


def band_distance(size: tuple[int, int], width: float = WIDTH) -> int:
    """Return the width of the band in pixels for an image of ``(height, width)``."""
    return max(1, round(width * math.hypot(*size)))


def border_band(label_map: UInt16[np.ndarray, "H W"], distance: int) -> Bool[np.ndarray, "H W"]:
    """Mark pixels with another label, or the edge of the image, at most ``distance`` pixels away."""
    band = np.empty(label_map.shape, np.bool_)
    _mark(np.ascontiguousarray(label_map), distance, band)
    return band


def count_bands(
    true: UInt16[np.ndarray, "H W"], predicted: UInt16[np.ndarray, "H W"], width: float = WIDTH
) -> PairCounts:
    """Count label pairs of the two maps' bands.

    Pixels whose truth is void are not scored; the border between a class and void is a border of the
    class. A pixel in the predicted band only has the truth ``OUTSIDE``; one in the true band only has
    the prediction 65535.

    Args:
        true: Class per pixel; 65535 = void.
        predicted: Label map of the same size; 65535 = no class.
        width: Width of the band, as a share of the diagonal.
    """
    distance = band_distance((true.shape[0], true.shape[1]), width)
    void = true == IGNORE_INDEX
    true_band = np.where(border_band(true, distance) | void, true, np.uint16(OUTSIDE))
    predicted_band = np.where(border_band(predicted, distance), predicted, np.uint16(IGNORE_INDEX))
    return count_runs(encode_runs(true_band), encode_runs(predicted_band))


# The kernel carries no_type_check, or the tests' shape checker would wrap it and numba could not cache it.
@njit(cache=True, nogil=True)
@no_type_check
def _mark(label_map, distance, band):
    """A pixel is off the band if the square of ``2 distance + 1`` around it has one label."""
    height, width = label_map.shape
    side = 2 * distance + 1
    flat = np.empty(width, np.bool_)  # the row's neighbours up to ``distance`` on both sides are equal
    rows = np.zeros(width, np.int64)  # number of rows so far, upwards, with flat and equal labels
    band[:] = True
    if height < side or width < side:
        return
    for y in range(height):
        flat[:] = False
        start = 0
        for x in range(1, width + 1):
            if x == width or label_map[y, x] != label_map[y, start]:
                for inner in range(start + distance, x - distance):
                    flat[inner] = True
                start = x
        centre = y - distance
        for x in range(width):
            same = y > 0 and label_map[y, x] == label_map[y - 1, x]
            rows[x] = (rows[x] if same else 0) + 1 if flat[x] else 0
        if centre >= distance:
            for x in range(width):
                band[centre, x] = rows[x] < side
