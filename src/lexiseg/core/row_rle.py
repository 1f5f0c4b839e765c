"""Label maps as runs of equal labels, read row by row: what the predictions store keeps.

A run goes on from the end of one row to the start of the next. Lengths are 16 bit; a longer run is
cut into several of the same label. A label map of a photograph takes about a tenth of its pixels'
bytes, is written and read at memory speed, and can be counted without being unpacked.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.compiled import njit
from lexiseg.core.constants import MAX_PIXELS
from lexiseg.core.errors import InputError

_MAX_LENGTH = 65535


class LabelRuns(NamedTuple):
    """A flat label map as runs.

    Attributes:
        labels: Label of each run, 65535 = void.
        lengths: Pixels of each run, 1 to 65535.
    """

    labels: UInt16[np.ndarray, " R"]
    lengths: UInt16[np.ndarray, " R"]


def encode_runs(label_map: UInt16[np.ndarray, "H W"]) -> LabelRuns:
    """Write a label map as runs; exact inverse of ``decode_runs``."""
    flat = np.ascontiguousarray(label_map).reshape(-1)
    labels, lengths = _encode(flat)
    return LabelRuns(labels, lengths)


def decode_runs(runs: LabelRuns, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
    """Read a label map of ``(height, width)`` from runs.

    Raises:
        InputError: The runs do not fill the size.
    """
    filled, num_pixels = int(runs.lengths.sum(dtype=np.int64)), size[0] * size[1]
    if filled != num_pixels or num_pixels > MAX_PIXELS:
        raise InputError(
            doing=f"reading a label map of {size[0]}×{size[1]} from runs",
            found=f"runs that add up to {filled:,} pixels",
            expected=f"{min(num_pixels, MAX_PIXELS):,} pixels",
            fix="Write the label map again.",
        )
    flat = np.empty(num_pixels, np.uint16)
    _decode(runs.labels, runs.lengths, flat)
    return flat.reshape(size)


# Kernels carry no_type_check, or the tests' shape checker would wrap them and numba could not cache them.
@njit(cache=True, nogil=True)
@no_type_check
def _encode(flat):
    num = 0
    for k in range(flat.size):  # no branch, so the compiler vectorises it
        num += k > 0 and flat[k] != flat[k - 1]
    bound = num + 1 + flat.size // _MAX_LENGTH + 1
    labels = np.empty(bound, np.uint16)
    lengths = np.empty(bound, np.uint16)
    num = 0
    start = 0
    while start < flat.size:
        label = flat[start]
        stop = start + 1
        limit = min(flat.size, start + _MAX_LENGTH)
        while stop < limit and flat[stop] == label:
            stop += 1
        labels[num] = label
        lengths[num] = stop - start
        num += 1
        start = stop
    return labels[:num].copy(), lengths[:num].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _decode(labels, lengths, flat):
    position = 0
    for run in range(labels.size):
        stop = position + np.int64(lengths[run])
        flat[position:stop] = labels[run]
        position = stop
