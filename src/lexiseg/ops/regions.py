"""Cut an image into regions of similar colour, and average maps over them.

Graph-based segmentation (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation",
IJCV 2004): neighbouring pixels are joined in the order of their colour difference, as long as the
difference is not larger than those inside either side, plus a bonus for small regions.
"""

from collections.abc import Sequence
from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from lexiseg.core.compiled import njit
from lexiseg.ops.row_bands import for_bands

_LEVELS = 4096  # steps into which a colour difference of 0 to 1 is sorted


def colour_regions(
    image: Float32[np.ndarray, "H W 3"], scales: Sequence[float], *, min_size: int
) -> list[Int32[np.ndarray, "H W"]]:
    """Cut an image into connected regions, once for each scale.

    Args:
        image: RGB in [0, 1].
        scales: Larger values give larger regions (``k`` of the paper, for colours in [0, 1]).
        min_size: Regions of fewer pixels join their most similar neighbour.

    Returns:
        A region number, counted from zero, for every pixel.
    """
    edges = _sorted_edges(image)
    found = [np.empty(image.shape[:2], np.int32) for _ in scales]

    def cut(start: int, stop: int) -> None:
        for index in range(start, stop):
            _join(*edges, np.float32(scales[index]), min_size, found[index])

    for_bands(cut, len(scales))
    return found


def region_means(
    maps: Float32[np.ndarray, "H W K"], cuts: Sequence[Int32[np.ndarray, "H W"]]
) -> Float32[np.ndarray, "H W K"]:
    """Replace every pixel by the mean of its region, averaged over several cuts of the image."""
    means = np.zeros_like(maps)
    for regions in cuts:
        totals = _region_means(maps, regions, int(regions.max()) + 1)
        work = partial(_add, totals, regions, np.float32(1 / len(cuts)), means)
        for_bands(work, maps.shape[0], min_rows=16)
    return means


@njit(cache=True, nogil=True)
@no_type_check
def _sorted_edges(image):
    """List pairs of neighbouring pixels (four neighbours) by rising colour difference."""
    height, width, _ = image.shape
    num_edges = height * (width - 1) + (height - 1) * width
    first, second = np.empty(num_edges, np.int32), np.empty(num_edges, np.int32)
    difference = np.empty(num_edges, np.float32)
    count = np.zeros(_LEVELS + 1, np.int64)
    n = 0
    for y in range(height):
        for x in range(width):
            for step_y, step_x in ((0, 1), (1, 0)):
                other_y, other_x = y + step_y, x + step_x
                if other_y < height and 0 <= other_x < width:
                    square = np.float32(0)
                    for c in range(3):
                        square += (image[y, x, c] - image[other_y, other_x, c]) ** 2
                    first[n], second[n] = y * width + x, other_y * width + other_x
                    difference[n] = np.sqrt(square)
                    count[_level(difference[n]) + 1] += 1
                    n += 1
    place = np.cumsum(count)
    by_first, by_second = np.empty_like(first), np.empty_like(second)
    by_difference = np.empty_like(difference)
    for i in range(num_edges):
        level = _level(difference[i])
        to = place[level]
        place[level] += 1
        by_first[to], by_second[to], by_difference[to] = first[i], second[i], difference[i]
    return by_first, by_second, by_difference


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _level(difference):
    return min(_LEVELS - 1, np.int64(difference * _LEVELS))


@njit(cache=True, nogil=True)
@no_type_check
def _root(parent, pixel):
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel


@njit(cache=True, nogil=True)
@no_type_check
def _join(first, second, difference, scale, min_size, regions):
    flat = regions.reshape(-1)
    parent = np.arange(flat.size).astype(np.int32)
    size = np.ones(flat.size, np.int32)
    limit = np.full(flat.size, scale, np.float32)
    for only_small in (False, True):
        for i in range(first.size):
            a, b = _root(parent, first[i]), _root(parent, second[i])
            if a == b:
                continue
            if only_small:
                joins = size[a] < min_size or size[b] < min_size
            else:
                joins = difference[i] <= limit[a] and difference[i] <= limit[b]
            if joins:
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                limit[a] = difference[i] + scale / size[a]
    number = np.full(flat.size, -1, np.int32)
    count = 0
    for pixel in range(flat.size):
        root = _root(parent, pixel)
        if number[root] < 0:
            number[root] = count
            count += 1
        flat[pixel] = number[root]


@njit(cache=True, nogil=True)
@no_type_check
def _region_means(maps, regions, num_regions):
    height, width, channels = maps.shape
    totals = np.zeros((num_regions, channels), np.float64)
    size = np.zeros(num_regions, np.int64)
    for y in range(height):
        for x in range(width):
            region = regions[y, x]
            size[region] += 1
            for c in range(channels):
                totals[region, c] += maps[y, x, c]
    means = np.empty((num_regions, channels), np.float32)
    for region in range(num_regions):
        for c in range(channels):
            means[region, c] = totals[region, c] / size[region]
    return means


@njit(cache=True, nogil=True)
@no_type_check
def _add(region_values, regions, weight, means, start, stop):
    for y in range(start, stop):
        for x in range(regions.shape[1]):
            region = regions[y, x]
            for c in range(means.shape[2]):
                means[y, x, c] += weight * region_values[region, c]
