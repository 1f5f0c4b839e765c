"""Masks as bits in square tiles of 64 by 64 pixels, one 64-bit word a row, with the pixels set in each tile."""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Int32, Int64, UInt64

from lexiseg.ops.row_bands import for_bands

_SIDE = 64


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
            words[index] = rearrange(padded.view("<u8"), "(i row) j -> (i j) row", row=_SIDE)
            counts[index] = np.bitwise_count(words[index]).sum(axis=1)

    for_bands(pack, num)
    return PackedMasks(words=words, counts=counts, areas=counts.sum(axis=1, dtype=np.int64))
