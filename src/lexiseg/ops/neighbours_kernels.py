"""Compiled loops of ``ops.neighbours``. Each works on queries ``start`` to ``stop`` and writes in place."""

from typing import no_type_check

import numpy as np

from lexiseg.core.compiled import njit
from lexiseg.ops.dot_kernels import dot

#: Columns whose maximum is taken at once; most pieces hold nothing new and are passed over.
_PIECE = 64


@njit(cache=True, nogil=True, fastmath={"nnan"}, inline="always")
@no_type_check
def _largest(block, query, first, last):
    largest = block[query, first]
    for column in range(first + 1, last):
        largest = max(largest, block[query, column])
    return largest


@njit(cache=True, nogil=True)
@no_type_check
def merge_block(block, first_row, best, rows, start, stop):
    """Merge the similarities of one block of the index into the best so far, largest first.

    Rows come in ascending order and only a larger similarity takes a place: of equals the lower row stays.
    """
    num_columns = block.shape[1]
    kept = best.shape[1]
    for query in range(start, stop):
        worst = best[query, kept - 1]
        for first in range(0, num_columns, _PIECE):
            last = min(first + _PIECE, num_columns)
            if _largest(block, query, first, last) <= worst:
                continue
            for column in range(first, last):
                value = block[query, column]
                if value <= worst:
                    continue
                place = kept - 1
                while place > 0 and best[query, place - 1] < value:
                    best[query, place] = best[query, place - 1]
                    rows[query, place] = rows[query, place - 1]
                    place -= 1
                best[query, place] = value
                rows[query, place] = first_row + column
                worst = best[query, kept - 1]


@njit(cache=True, nogil=True)
@no_type_check
def rescore(queries, candidates, rows, taken, similarities, start, stop):
    """Compute exact cosines of the candidates and keep the best: by similarity, then by row.

    ``rows`` are the candidates' row numbers, -1 for none; ``taken`` and ``similarities`` receive the result.
    """
    num_candidates = rows.shape[1]
    kept = taken.shape[1]
    values = np.empty(num_candidates, np.float32)
    for query in range(start, stop):
        length = np.sqrt(dot(queries[query], queries[query]))
        for place in range(num_candidates):
            if rows[query, place] < 0:
                values[place] = -np.inf
                continue
            other = candidates[query, place]
            product = length * np.sqrt(dot(other, other))
            values[place] = dot(queries[query], other) / product if product > 0 else 0.0
        for place in range(kept):
            best = -1
            for i in range(num_candidates):
                if rows[query, i] >= 0 and (
                    best < 0
                    or values[i] > values[best]
                    or (values[i] == values[best] and rows[query, i] < rows[query, best])
                ):
                    best = i
            if best < 0:
                taken[query, place] = -1
                similarities[query, place] = -np.inf
                continue
            taken[query, place] = rows[query, best]
            similarities[query, place] = values[best]
            rows[query, best] = -1
