"""Compiled loops of ``ops.resize``. Each works on output rows ``start`` to ``stop`` and writes in place.

They carry ``no_type_check``, or the shape checker of the tests would wrap them, which numba cannot cache.
"""

from typing import no_type_check

import numpy as np

from lexiseg.core.compiled import njit

# Output pixels are worked on in tiles of at most this side, which stay in the first-level cache.
_TILE = 32


@njit(cache=True, nogil=True, fastmath={"contract"})
@no_type_check
def best_of_grid(
    scores, row_low, row_weight, column_low, column_weight, class_offset, labels, best, start, stop
):
    """Stream classes into ``labels`` and ``best``, cell by cell, leaving out those that cannot win there."""
    num_classes, height, width = scores.shape
    upper = np.empty((width, num_classes), np.float32)  # two rows of the grid, classes innermost
    lower = np.empty((width, num_classes), np.float32)
    inside = np.empty(num_classes, np.int64)
    across = np.empty(_TILE * _TILE, np.float32)
    down = np.empty(_TILE * _TILE, np.float32)
    tile_best = np.empty(_TILE * _TILE, np.float32)
    tile_label = np.empty(_TILE * _TILE, np.int32)
    num_columns = labels.shape[1]
    row = start
    loaded = -2
    while row < stop:
        # Load the two grid rows around the output row; where the row below becomes the upper one, swap.
        low = row_low[row]
        if low == loaded + 1:
            upper, lower = lower, upper
            _load_row(scores, min(low + 1, height - 1), lower)
        elif low != loaded:
            _load_row(scores, low, upper)
            _load_row(scores, min(low + 1, height - 1), lower)
        loaded = low
        row_end = _run_end(row_low, row, stop)
        column = 0
        while column < num_columns:
            x = column_low[column]
            x_next = min(x + 1, width - 1)
            column_end = _run_end(column_low, column, num_columns)
            # The four corners of the cell, all classes of each side by side.
            a, b, c, d = upper[x], upper[x_next], lower[x], lower[x_next]
            size = 0
            floor = np.float32(np.inf)
            # Gather the cell's output pixels: weights, and the best so far.
            for i in range(row, row_end):
                for j in range(column, column_end):
                    across[size] = column_weight[j]
                    down[size] = row_weight[i]
                    tile_best[size] = best[i, j]
                    tile_label[size] = labels[i, j]
                    floor = min(floor, best[i, j])
                    size += 1
            # Let the classes compete that can win somewhere in the cell.
            num_inside = _possible_winners(a, b, c, d, floor, inside)
            for n in range(num_inside):
                k = inside[n]
                _compete(
                    a[k], b[k] - a[k], c[k] - a[k], (d[k] - c[k]) - (b[k] - a[k]),
                    k + class_offset, across, down, tile_best, tile_label, size,
                )  # fmt: skip
            # Write the winners back.
            if num_inside:
                size = 0
                for i in range(row, row_end):
                    for j in range(column, column_end):
                        best[i, j] = tile_best[size]
                        labels[i, j] = tile_label[size]
                        size += 1
            column = column_end
        row = row_end


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _run_end(low, start, stop):
    """End of the run of output positions that lie between the same two grid points."""
    end = start + 1
    while end < stop and end - start < _TILE and low[end] == low[start]:
        end += 1
    return end


@njit(cache=True, nogil=True)
@no_type_check
def _load_row(scores, y, into):
    num_classes, _, width = scores.shape
    for first in range(0, num_classes, 16):  # blocks of one cache line, so that lines are written whole
        for x in range(width):
            for k in range(first, min(first + 16, num_classes)):
                into[x, k] = scores[k, y, x]


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
@no_type_check
def _possible_winners(a, b, c, d, floor, inside):
    """List the classes that can be best somewhere between the corners ``a b c d`` and above ``floor``."""
    # A class whose largest corner is below the smallest corner of another cannot win in the cell.
    worst = np.float32(-np.inf)
    for k in range(a.size):
        worst = max(worst, min(min(a[k], b[k]), min(c[k], d[k])))
    worst = max(worst, floor)
    count = 0
    for k in range(a.size):
        inside[count] = k
        count += max(max(a[k], b[k]), max(c[k], d[k])) >= worst
    return count


@njit(cache=True, nogil=True, fastmath={"contract", "nnan"})
@no_type_check
def _compete(a, along, below, twist, label, across, down, tile_best, tile_label, size):
    """Evaluate one class in every pixel of a tile and keep it where it is the best so far."""
    label = np.int32(label)
    for p in range(size):
        value = (a + down[p] * below) + across[p] * (along + down[p] * twist)
        wins = value > tile_best[p]
        tile_best[p] = value if wins else tile_best[p]
        tile_label[p] = label if wins else tile_label[p]


@njit(cache=True, nogil=True, fastmath={"contract"})
@no_type_check
def grid_at_labels(scores, labels, row_low, row_weight, column_low, column_weight, found, start, stop):
    """Resize, in every pixel, the scores of the class its label names."""
    _, height, width = scores.shape
    for i in range(start, stop):
        # Interpolate down both sides of the cell, then across.
        y, down = row_low[i], row_weight[i]
        y_next = min(y + 1, height - 1)
        for j in range(labels.shape[1]):
            x, along, k = column_low[j], column_weight[j], labels[i, j]
            x_next = min(x + 1, width - 1)
            left = scores[k, y, x] + down * (scores[k, y_next, x] - scores[k, y, x])
            right = scores[k, y, x_next] + down * (scores[k, y_next, x_next] - scores[k, y, x_next])
            found[i, j] = left + along * (right - left)
