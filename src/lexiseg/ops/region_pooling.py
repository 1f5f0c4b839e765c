"""Average patch tokens over regions: one feature a region, all regions in one sparse product."""

from functools import partial
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.compiled import njit
from lexiseg.ops.row_bands import for_bands

#: A region that covers less than this, in patches, takes the token of its best covered patch alone.
MIN_COVERAGE = 0.5


def pool_regions(
    tokens: Float[Tensor, "N D"], grid: tuple[int, int], masks: Bool[np.ndarray, "Q H W"]
) -> Float[Tensor, "Q D"]:
    """Average the tokens under each mask, weighted by the share of their patch that it covers.

    No gradient. Masks need not have the size that was encoded: they are laid over the whole grid.

    Args:
        tokens: In raster order.
        grid: ``(h, w)`` with ``h * w == N``.
        masks: At any size; they may overlap.

    Returns:
        Features of unit length, on the device of the tokens; zeros for an empty mask.
    """
    weights = region_weights(masks, grid)
    pooled = csr_array(weights) @ tokens.detach().float().cpu().numpy()
    return normalize(torch.from_numpy(pooled), dim=-1).to(tokens)


def region_weights(masks: Bool[np.ndarray, "Q H W"], grid: tuple[int, int]) -> Float32[np.ndarray, "Q N"]:
    """Return the weights that average tokens over masks: rows that sum to one, zeros for an empty mask.

    A mask smaller than half a patch gives all its weight to the patch it covers most.
    """
    coverage = patch_coverage(masks, grid).reshape(len(masks), grid[0] * grid[1])
    total = coverage.sum(axis=1, keepdims=True, dtype=np.float64)
    weights = np.divide(coverage, total, out=np.zeros_like(coverage), where=total > 0, casting="same_kind")
    for tiny in np.flatnonzero((total[:, 0] > 0) & (total[:, 0] < MIN_COVERAGE)):
        weights[tiny] = 0
        weights[tiny, coverage[tiny].argmax()] = 1
    return weights


def patch_coverage(masks: Bool[np.ndarray, "Q H W"], grid: tuple[int, int]) -> Float32[np.ndarray, "Q h w"]:
    """Return the share of every patch that each mask covers, exact where patches cut through pixels."""
    coverage = np.zeros((len(masks), *grid), np.float32)
    rows, columns = (np.linspace(0, side, num + 1) for side, num in zip(masks.shape[1:], grid, strict=True))
    work = partial(_cover, np.ascontiguousarray(masks).view(np.uint8), rows, columns, coverage)
    for_bands(work, len(masks))
    return coverage


@njit(cache=True, nogil=True)
@no_type_check
def _cover(masks, rows, columns, coverage, start, stop):
    """Sum the rows of a patch into one row of column totals, then cut that row into patches."""
    _, height, width = masks.shape
    _, grid_height, grid_width = coverage.shape
    whole = np.empty(width, np.uint8)  # counts of at most 255 rows: small numbers, many a vector
    total = np.empty(width, np.float64)
    for q in range(start, stop):
        for i in range(grid_height):
            top, bottom = rows[i], rows[i + 1]
            first, last = int(np.ceil(top)), int(np.floor(bottom))
            touched = _add_part(masks[q], int(top), min(first, bottom) - top, total, True)
            if last >= first:
                touched |= _add_part(masks[q], min(last, height - 1), bottom - last, total, False)
            for begin in range(first, last, 255):
                whole[:] = 0
                for y in range(begin, min(begin + 255, last)):
                    whole += masks[q, y]
                for x in range(width):
                    total[x] += whole[x]
                    touched |= whole[x] > 0
            if not touched:
                continue
            area = (bottom - top) * (columns[1] - columns[0])
            for j in range(grid_width):
                left, right = columns[j], columns[j + 1]
                covered = 0.0
                for x in range(int(left), min(int(np.ceil(right)), width)):
                    covered += total[x] * (min(right, x + 1) - max(left, x))
                coverage[q, i, j] = covered / area


@njit(cache=True, nogil=True)
@no_type_check
def _add_part(mask, y, part, total, afresh):
    """Add a row with the part of it that lies inside; return whether that was anything."""
    if afresh:
        total[:] = 0
    touched = False
    if part > 0:
        for x in range(mask.shape[1]):
            total[x] += part * mask[y, x]
            touched |= mask[y, x] > 0
    return touched
