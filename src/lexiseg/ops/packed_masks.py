"""Masks as bits in square tiles: how much two of them overlap, without looking at most pixels.

A mask is cut into tiles of 64 by 64 pixels, one 64-bit word a row, and every tile knows how many of its
pixels are set. The counts alone bound the overlap of two masks from above, which settles most pairs;
bits are only compared in tiles that are partly set in both.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt64
from numba import njit

from lexiseg.ops.row_bands import for_bands

_SIDE = 64
_FULL = _SIDE * _SIDE


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedMasks:
    """Masks of one picture in 64 × 64 tiles, an eighth of their size as booleans.

    Attributes:
        words: A bit a pixel: masks, tiles, rows of a tile. Pixels beyond the picture are not set.
        counts: Pixels set in each tile.
        areas: Pixels set in each mask.
    """

    words: UInt64[np.ndarray, "M tiles 64"]
    counts: Int32[np.ndarray, "M tiles"]
    areas: Int64[np.ndarray, " M"]


def pack_masks(masks: Bool[np.ndarray, "M H W"]) -> PackedMasks:
    """Cut masks into tiles of bits."""
    num, height, width = masks.shape
    down, across = -(-height // _SIDE), -(-width // _SIDE)
    words = np.empty((num, down * across, _SIDE), np.uint64)
    counts = np.empty((num, down * across), np.int32)

    def pack(start: int, stop: int) -> None:
        padded = np.zeros((down * _SIDE, across * _SIDE // 8), np.uint8)
        for index in range(start, stop):
            rows = np.packbits(masks[index], axis=1, bitorder="little")
            padded[:height, : rows.shape[1]] = rows
            _cut(padded.view("<u8"), words[index], counts[index])

    for_bands(pack, num)
    return PackedMasks(words=words, counts=counts, areas=counts.sum(axis=1, dtype=np.int64))


@njit(cache=True, nogil=True)
@no_type_check
def _cut(rows, words, counts):
    """Lay rows of bits out as tiles and count the bits of each."""
    across = rows.shape[1]
    counts[:] = 0
    for y in range(rows.shape[0]):
        for x in range(across):
            tile, word = (y >> 6) * across + x, rows[y, x]
            words[tile, y & 63] = word
            counts[tile] += _num_bits(word)


@njit(cache=True, nogil=True)
@no_type_check
def overlap_exceeds(words, counts, areas, left, right, threshold):
    """Say whether two masks share more than ``threshold`` of the smaller one; never for an empty one.

    A kernel: takes the arrays of ``PackedMasks`` and two indices.
    """
    smaller = min(areas[left], areas[right])
    if smaller == 0:
        return False
    num_tiles = counts.shape[1]
    shared = np.int64(0)  # at most so many: tightened tile by tile until it is exact
    for tile in range(num_tiles):
        shared += min(counts[left, tile], counts[right, tile])
    # A division, as the rule is written: its rounding agrees with a threshold written as a decimal.
    if shared / smaller <= threshold:
        return False
    for tile in range(num_tiles):
        few, many = counts[left, tile], counts[right, tile]
        if few > many:
            few, many = many, few
        if few == 0 or many == _FULL:
            continue
        shared -= few
        for row in range(_SIDE):
            shared += _num_bits(words[left, tile, row] & words[right, tile, row])
        if shared / smaller <= threshold:
            return False
    return True


@njit(cache=True, nogil=True)
@no_type_check
def absorb(words, counts, areas, into, other):
    """Unite two masks in the place of the first. A kernel, as ``overlap_exceeds``."""
    area = np.int64(0)
    for tile in range(counts.shape[1]):
        if counts[other, tile] > 0:
            count = np.int64(0)
            for row in range(_SIDE):
                word = words[into, tile, row] | words[other, tile, row]
                words[into, tile, row] = word
                count += _num_bits(word)
            counts[into, tile] = count
        area += counts[into, tile]
    areas[into] = area


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _num_bits(word):
    word = np.uint64(word)
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
