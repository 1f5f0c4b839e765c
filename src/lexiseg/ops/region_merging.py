"""Merge neighbouring regions of an image that look alike, the most alike first."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from lexiseg.core.compiled import njit


def merge_regions(
    regions: Int32[np.ndarray, "H W"],
    features: Float32[np.ndarray, "R D"],
    *,
    max_distance: float,
    min_area: int,
    balance: float,
    max_regions: int,
) -> Int32[np.ndarray, "H W"]:
    """Join neighbouring regions greedily; a joined region has the area-weighted mean of the features.

    The cost of a pair is the squared Euclidean distance of its features, times
    ``(2 * area * other / (area + other) / mean area) ** balance``: with 0 only looks count, with 1
    it is Ward's criterion, under which large regions resist and small ones are taken in.

    Args:
        regions: Region number of every pixel, counted from zero without gaps.
        features: One row a region.
        max_distance: Pairs of a higher cost stay apart, unless a region is too small or there are too many.
        min_area: Regions of fewer pixels join their most similar neighbour.
        balance: From 0 to 1.
        max_regions: At most so many are left.

    Returns:
        The same image with fewer regions, numbered from zero in the order of their first pixel.
    """
    merged = _merge(
        np.ascontiguousarray(regions),
        features.astype(np.float64),
        float(max_distance),
        min_area,
        balance,
        max_regions,
    )
    return merged[regions]


# Kernels carry no_type_check, or the tests' shape checker would wrap them and numba could not cache them.
@njit(cache=True, nogil=True)
@no_type_check
def _merge(regions, features, max_distance, min_area, balance, max_regions):
    """Return the new number of every region."""
    height, width = regions.shape
    count = features.shape[0]
    area = np.zeros(count, np.float64)
    touches = np.zeros((count, count), np.bool_)
    for y in range(height):
        for x in range(width):
            here = regions[y, x]
            area[here] += 1
            if x + 1 < width and regions[y, x + 1] != here:
                touches[here, regions[y, x + 1]] = touches[regions[y, x + 1], here] = True
            if y + 1 < height and regions[y + 1, x] != here:
                touches[here, regions[y + 1, x]] = touches[regions[y + 1, x], here] = True
    mean_area = height * width / count
    cost = np.full((count, count), np.inf)
    for a in range(count):
        for b in range(a):
            if touches[a, b]:
                cost[a, b] = cost[b, a] = _cost(features, area, a, b, mean_area, balance)
    nearest = np.zeros(count, np.int64)
    for a in range(count):
        nearest[a] = np.argmin(cost[a])
    owner = np.arange(count)
    alive = np.ones(count, np.bool_)
    left = count
    while left > 1:
        a, best = -1, np.inf
        for i in range(count):
            if not alive[i]:
                continue
            price = cost[i, nearest[i]]
            must = area[i] < min_area or left > max_regions
            if price < best and (must or price <= max_distance):
                a, best = i, price
        if a < 0:
            break
        b = nearest[a]
        total = area[a] + area[b]
        for d in range(features.shape[1]):
            features[a, d] = (features[a, d] * area[a] + features[b, d] * area[b]) / total
        area[a] = total
        alive[b] = False
        left -= 1
        for i in range(count):
            if owner[i] == b:
                owner[i] = a
            if touches[b, i] and i != a:
                touches[a, i] = touches[i, a] = True
            touches[b, i] = touches[i, b] = False
            cost[b, i] = cost[i, b] = np.inf
        for i in range(count):
            if touches[a, i]:
                cost[a, i] = cost[i, a] = _cost(features, area, a, i, mean_area, balance)
        for i in range(count):
            if alive[i] and (i == a or touches[a, i] or nearest[i] == b):
                nearest[i] = np.argmin(cost[i])
    number = np.full(count, -1, np.int32)
    merged = np.empty(count, np.int32)
    seen = 0
    for y in range(height):
        for x in range(width):
            root = owner[regions[y, x]]
            if number[root] < 0:
                number[root] = seen
                seen += 1
    for region in range(count):
        merged[region] = number[owner[region]]
    return merged


@njit(cache=True, nogil=True)
@no_type_check
def _cost(features, area, a, b, mean_area, balance):
    square = 0.0
    for d in range(features.shape[1]):
        square += (features[a, d] - features[b, d]) ** 2
    return square * (2 * area[a] * area[b] / (area[a] + area[b]) / mean_area) ** balance
