"""Fuse masks that lie in one another, so that things stay whole.

A mask proposer finds the shirt and the person. Rule of the paper (RIM, CVPR 2024, supplement): two masks
become one where their intersection is more than 0.9 of the smaller area. In which order, and whether
unions are compared again, is not stated; the three readings below are ours.

Masks are compared as bits in square tiles of 64 by 64 pixels, one 64-bit word a row, with the pixels set in
each tile.
"""

from dataclasses import dataclass
from typing import Literal, no_type_check

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Int32, Int64, UInt64

from lexiseg.core.compiled import njit
from lexiseg.ops.row_bands import for_bands

_SIDE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedMasks:
    """Masks of one image in 64 × 64 tiles, an eighth of their size as booleans.

    Attributes:
        words: A bit a pixel: masks, tiles, rows of a tile. Pixels beyond the image are not set.
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
            # Pack eight pixels a byte, pad to whole tiles, and read 64 pixels as one word.
            rows = np.packbits(masks[index], axis=1, bitorder="little")
            padded[:height, : rows.shape[1]] = rows
            words[index] = rearrange(padded.view("<u8"), "(i row) j -> (i j) row", row=_SIDE)
            counts[index] = np.bitwise_count(words[index]).sum(axis=1)

    for_bands(pack, num)
    return PackedMasks(words=words, counts=counts, areas=counts.sum(axis=1, dtype=np.int64))


Reading = Literal["greedy", "transitive", "one_pass"]

_ROWS = 64  # of a tile
_TILE = _ROWS * _ROWS


def fuse_masks(
    masks: Bool[np.ndarray, "M H W"],
    *,
    reading: Reading = "greedy",
    threshold: float = 0.9,
    largest_absorber: float = 1.0,
) -> Bool[np.ndarray, "Q H W"]:
    """Fuse masks into regions, which together cover what the masks covered.

    Arguments are those of ``fused_groups``. Empty masks vanish.
    """
    groups = fused_groups(masks, reading=reading, threshold=threshold, largest_absorber=largest_absorber)
    regions = np.empty((len(groups), *masks.shape[1:]), np.bool_)

    def unite(start: int, stop: int) -> None:
        for index in range(start, stop):
            first, *others = groups[index]
            regions[index] = masks[first]
            for other in others:
                np.logical_or(regions[index], masks[other], out=regions[index])

    for_bands(unite, len(groups))
    return regions


def fused_groups(
    masks: Bool[np.ndarray, "M H W"],
    *,
    reading: Reading = "greedy",
    threshold: float = 0.9,
    largest_absorber: float = 1.0,
) -> list[list[int]]:
    """Return which masks belong together.

    Args:
        masks: Masks of one image.
        reading: ``greedy``: compare from the largest to the smallest (equal ones: in the order given; a union
            has the place of its larger part), unite the first pair that qualifies, begin again, until no pair
            does. Independent of the order of masks of different size. ``transitive``: masks are linked where two
            *original* masks qualify, and what hangs together is one region; a small mask that two things
            share glues them. ``one_pass``: each mask, in the order given, joins the first region that qualifies.
        threshold: Share of the smaller area; must be exceeded, so that 1 fuses nothing.
        largest_absorber: Masks larger than this part of the image absorb nothing, as one mask of the
            whole scene would swallow everything; 1 lets them.

    Returns:
        Indices of masks, region by region, ascending; regions by their first mask. Empty masks are in none.
    """
    packed = pack_masks(masks)
    limit = largest_absorber * masks.shape[1] * masks.shape[2]
    kernel = {"greedy": _greedy, "transitive": _transitive, "one_pass": _one_pass}[reading]
    owner: Int32[np.ndarray, " M"] = kernel(packed.words, packed.counts, packed.areas, threshold, limit)
    groups: dict[int, list[int]] = {}
    for index in np.flatnonzero(owner >= 0).tolist():
        groups.setdefault(int(owner[index]), []).append(index)
    return list(groups.values())


@njit(cache=True, nogil=True)
@no_type_check
def _belong(words, counts, areas, left, right, threshold, limit):
    if max(areas[left], areas[right]) > limit:
        return False
    return _share_exceeds(words, counts, areas, left, right, threshold)


@njit(cache=True, nogil=True)
@no_type_check
def _greedy(words, counts, areas, threshold, limit):
    """Return the mask in whose place each mask ended; -1 for empty masks. Changes its arguments."""
    num = areas.size
    owner = np.where(areas > 0, np.arange(num), -1).astype(np.int32)
    differ = np.zeros((num, num), np.bool_)  # pairs compared since either last grew
    alive = np.flatnonzero(areas > 0)
    while True:
        # Largest first; a pair that was compared is compared again only after one of it grew.
        alive = alive[np.argsort(-areas[alive], kind="mergesort")]
        large, small = _first_pair(words, counts, areas, threshold, limit, alive, differ)
        if large < 0:
            return owner
        # Unite the pair in the place of the larger mask.
        _absorb(words, counts, areas, large, small)
        differ[large] = False
        differ[:, large] = False
        owner[owner == small] = large
        alive = np.sort(alive[alive != small])


@njit(cache=True, nogil=True)
@no_type_check
def _first_pair(words, counts, areas, threshold, limit, order, differ):
    for a in range(order.size):
        for b in range(a + 1, order.size):
            if not differ[order[a], order[b]]:
                if _belong(words, counts, areas, order[a], order[b], threshold, limit):
                    return order[a], order[b]
                differ[order[a], order[b]] = True
                differ[order[b], order[a]] = True
    return -1, -1


@njit(cache=True, nogil=True)
@no_type_check
def _transitive(words, counts, areas, threshold, limit):
    owner = np.where(areas > 0, np.arange(areas.size), -1).astype(np.int32)
    for left in range(areas.size):
        for right in range(left + 1, areas.size):
            if owner[left] != owner[right] and _belong(words, counts, areas, left, right, threshold, limit):
                owner[owner == owner[right]] = owner[left]
    return owner


@njit(cache=True, nogil=True)
@no_type_check
def _one_pass(words, counts, areas, threshold, limit):
    owner = np.full(areas.size, -1, np.int32)
    for index in range(areas.size):
        if areas[index] == 0:
            continue
        owner[index] = index
        for region in range(index):
            if owner[region] == region and _belong(words, counts, areas, region, index, threshold, limit):
                owner[index] = region
                _absorb(words, counts, areas, region, index)
                break
    return owner


# In this file, not beside pack_masks: numba's cache of a kernel does not notice changes in other files.
@njit(cache=True, nogil=True)
@no_type_check
def _share_exceeds(words, counts, areas, left, right, threshold):
    """Return whether two masks share more than ``threshold`` of the smaller one; never for an empty one.

    Counts of tiles bound what is shared from above, which settles most pairs. Bits are compared only in
    tiles that are partly set in both, and only until the bound is low enough.
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
        if few == 0 or many == _TILE:
            continue
        shared -= few
        for row in range(_ROWS):
            shared += _num_bits(words[left, tile, row] & words[right, tile, row])
        if shared / smaller <= threshold:
            return False
    return True


@njit(cache=True, nogil=True)
@no_type_check
def _absorb(words, counts, areas, into, other):
    """Unite two masks in the place of the first."""
    area = np.int64(0)
    for tile in range(counts.shape[1]):
        if counts[other, tile] > 0:
            count = np.int64(0)
            for row in range(_ROWS):
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
    # Add up bits in pairs, in fours, in bytes; the product sums the bytes (Hamming weight).
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
