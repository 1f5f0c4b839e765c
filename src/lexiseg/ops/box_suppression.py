"""Greedy suppression of boxes that overlap a better one."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32, Int64

from lexiseg.core.compiled import njit


def suppress_boxes(
    boxes: Int32[np.ndarray, "M 4"], scores: Float32[np.ndarray, " M"], *, max_iou: float
) -> Int64[np.ndarray, " kept"]:
    """Keep the best box, drop those that overlap it by more than ``max_iou``, go on with what is left.

    Args:
        boxes: Left, top, right, bottom, the last two exclusive.
        scores: Higher is better; of equals the earlier one wins.
        max_iou: Intersection over union up to which two boxes may both stay.

    Returns:
        Positions of the boxes that stay, best first.
    """
    order = np.argsort(-scores, kind="stable")
    return order[_kept(boxes[order].astype(np.float64), max_iou)]


# Kernels carry no_type_check, or the tests' shape checker would wrap them and numba could not cache them.
@njit(cache=True, nogil=True)
@no_type_check
def _kept(boxes, max_iou):
    kept = np.ones(boxes.shape[0], np.bool_)
    for i in range(boxes.shape[0]):
        if not kept[i]:
            continue
        left, top, right, bottom = boxes[i]
        area = (right - left) * (bottom - top)
        for j in range(i + 1, boxes.shape[0]):
            width = min(right, boxes[j, 2]) - max(left, boxes[j, 0])
            height = min(bottom, boxes[j, 3]) - max(top, boxes[j, 1])
            if kept[j] and width > 0 and height > 0:
                shared = width * height
                other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
                kept[j] = shared <= max_iou * (area + other - shared)
    return kept
