"""Compiled loops that count (true, predicted) label pairs.

Label maps are piecewise constant, so what costs time is not counting but guessing wrongly where a
region ends. Each chunk of pixels is therefore turned into pair indices and change flags by loops
without branches (the compiler vectorises them); only at changes is anything counted. Where most
pixels change (noise), every pixel is counted directly.
"""

from typing import no_type_check

import numpy as np

from lexiseg.core.compiled import njit
from lexiseg.core.constants import IGNORE_INDEX

_CHUNK = 4096  # its scratch arrays stay in the first-level cache
_LOOK = 64
_WORD = 8  # flags looked at together


# Kernels carry no_type_check, or the tests' shape checker would wrap them and numba could not cache them.
@njit(cache=True, nogil=True)
@no_type_check
def count_pairs(true, predicted, num_classes, counts, step):
    """Add ``step`` a pixel to the count of its pair.

    Args:
        true: Flat uint16 labels, contiguous.
        predicted: Predicted label map, of the same kind.
        num_classes: ``K``; label 65535 is counted as ``K``, in rows and in columns.
        counts: int32 of ``(K + 1) ** 2``, rows true, changed in place.
        step: 1, or -1 to take pixels back.

    Returns:
        -1, or the start of a chunk with a label out of range: nothing from there on is counted.
    """
    pair = np.empty(_CHUNK + _WORD, np.uint32)
    flags = np.zeros(_CHUNK, np.uint8)
    words = flags.view(np.uint64)
    busy = np.empty(words.size + 1, np.int64)
    starts = np.empty(_CHUNK + _WORD, np.uint32)
    void, columns = np.uint16(num_classes), np.uint32(num_classes + 1)
    for offset in range(0, true.size, _CHUNK):
        size = min(_CHUNK, true.size - offset)
        t, p = true[offset : offset + size], predicted[offset : offset + size]
        top = np.uint16(0)
        for k in range(size):
            # Adding one wraps void to 0, so the largest label that is not void stays.
            top = max(top, max(np.uint16(t[k] + np.uint16(1)), np.uint16(p[k] + np.uint16(1))))
            pair[k] = np.uint32(min(t[k], void)) * columns + np.uint32(min(p[k], void))
        if top > num_classes:
            return offset
        changes = 0
        for k in range(1, min(size, _LOOK)):
            changes += pair[k] != pair[k - 1]
        if 2 * changes > _LOOK:
            for k in range(size):
                counts[np.uint64(pair[k])] += step
            continue
        flags[:] = 0
        for k in range(1, size):
            flags[k] = pair[k] != pair[k - 1]
        starts[0] = 0
        num = 1
        num_busy = 0
        for word in range(words.size):
            busy[np.uint64(num_busy)] = word  # overwritten by the next one unless this word has a change
            num_busy += words[word] != 0
        for index in range(num_busy):
            first = busy[index] * _WORD
            for k in range(first, first + _WORD):
                starts[np.uint64(num)] = k
                num += flags[k]
        starts[np.uint64(num)] = size
        for run in range(num):
            length = np.int64(starts[run + 1]) - np.int64(starts[run])
            counts[np.uint64(pair[np.uint64(starts[run])])] += step * length
    return -1


@njit(cache=True, nogil=True)
@no_type_check
def count_margins(true, predicted, num_classes, margins, step):
    """Add to row sums, column sums and diagonal only (the rows of ``margins``, int64 ``3 K+1``).

    Returns:
        -1, or the first pixel with a label out of range: nothing from there on is counted.
    """
    start = 0
    while start < true.size:
        a, b = np.int64(true[start]), np.int64(predicted[start])
        if (a >= num_classes and a != IGNORE_INDEX) or (b >= num_classes and b != IGNORE_INDEX):
            return start
        stop = start + 1
        while stop < true.size and true[stop] == a and predicted[stop] == b:
            stop += 1
        if a != IGNORE_INDEX:
            amount = step * (stop - start)
            margins[0, a] += amount
            margins[1, min(b, num_classes)] += amount
            if a == b:
                margins[2, a] += amount
        start = stop
    return -1
