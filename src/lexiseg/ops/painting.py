"""Lay overlapping regions on one another: which of them shows in every pixel."""

from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int32

from lexiseg.core.compiled import njit
from lexiseg.ops.row_bands import for_bands


def paint_regions(
    regions: Bool[np.ndarray, "Q H W"], costs: Float[np.ndarray, " Q"] | None = None
) -> Int32[np.ndarray, "H W"]:
    """Return the region that shows in each pixel: of those that cover it, the smallest.

    Args:
        regions: Masks of one image. Of equally large ones the earlier shows.
        costs: The region of the lowest cost shows instead, for example by how well each was matched.

    Returns:
        Number of a region, -1 where there is none.
    """
    keys = np.array([np.count_nonzero(region) for region in regions]) if costs is None else costs
    below_first = np.argsort(keys, kind="stable")[::-1].copy()
    painted = np.full(regions.shape[1:], -1, np.int32)
    work = partial(_paint, np.ascontiguousarray(regions), below_first, painted)
    for_bands(work, regions.shape[1], min_rows=16)
    return painted


@njit(cache=True, nogil=True)
@no_type_check
def _paint(regions, order, painted, start, stop):
    for y in range(start, stop):
        row = painted[y]
        for index in order:
            mask, number = regions[index, y], np.int32(index)
            for x in range(row.size):
                row[x] = number if mask[x] else row[x]
