"""Smooth maps without crossing the edges of a colour image.

The guided filter (He, Sun, Tang, "Guided Image Filtering", TPAMI 2013) fits, in every square
neighbourhood, each map as a linear function of the image's colour; where the colour jumps, the
map may jump, where it is flat, the map is averaged. Its fast form (He and Sun, 2015) fits on a small
image and evaluates the fit on a larger one. Linear in the maps: what sums to one still does.
"""

from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from lexiseg.core.compiled import njit
from lexiseg.ops.resize import bilinear_taps
from lexiseg.ops.row_bands import for_bands


def guided_filter(
    maps: Float32[np.ndarray, "h w K"],
    guide: Float32[np.ndarray, "h w 3"],
    large_guide: Float32[np.ndarray, "H W 3"],
    *,
    radius: int,
    epsilon: float,
) -> Float32[np.ndarray, "H W K"]:
    """Filter ``maps`` along the edges of ``guide`` and evaluate the result at the larger size.

    Args:
        maps: What to filter, classes innermost.
        guide: The image at the size of the maps, RGB in [0, 1].
        large_guide: The image at the size of the result, RGB in [0, 1].
        radius: Half side of the neighbourhood in small pixels.
        epsilon: Colour variance below which a neighbourhood counts as flat.
    """
    coefficients = _box_mean(_fit(maps, guide, radius, epsilon), radius)
    height, width = large_guide.shape[:2]
    above, _, down = (taps.numpy() for taps in bilinear_taps(maps.shape[0], height))
    left, _, along = (taps.numpy() for taps in bilinear_taps(maps.shape[1], width))
    filtered = np.empty((height, width, maps.shape[2]), np.float32)
    work = partial(_evaluate, coefficients, large_guide, above, down, left, along, filtered)
    for_bands(work, height, min_rows=16)
    return filtered


def _fit(
    maps: Float32[np.ndarray, "h w K"], guide: Float32[np.ndarray, "h w 3"], radius: int, epsilon: float
) -> Float32[np.ndarray, "h w K4"]:
    """Fit red, green, blue and constant coefficients of each map; the four stand K apart."""
    red, green, blue = (guide[:, :, channel : channel + 1] for channel in range(3))
    products = [guide * red, guide[:, :, 1:] * green, blue * blue]
    colour = _box_mean(np.concatenate([guide, *products], axis=2), radius)
    joint = _box_mean(np.concatenate([maps * red, maps * green, maps * blue, maps], axis=2), radius)
    _solve(colour, joint, epsilon)
    return joint


def _box_mean(maps: Float32[np.ndarray, "h w C"], radius: int) -> Float32[np.ndarray, "h w C"]:
    """Average over squares of side ``2 radius + 1``, cut off at the border."""
    half, mean = np.empty_like(maps), np.empty_like(maps)
    for_bands(partial(_box_columns, maps, radius, half), maps.shape[1], min_rows=16)
    for_bands(partial(_box_rows, half, radius, mean), maps.shape[0], min_rows=16)
    return mean


# Running sums are in double precision: what is added must vanish again when it is taken away.
@njit(cache=True, nogil=True)
@no_type_check
def _box_rows(maps, radius, mean, start, stop):
    _, width, channels = maps.shape
    total = np.empty(channels, np.float64)
    for y in range(start, stop):
        total[:] = 0
        for x in range(min(radius, width)):
            for c in range(channels):
                total[c] += maps[y, x, c]
        for x in range(width):
            if x + radius < width:
                for c in range(channels):
                    total[c] += maps[y, x + radius, c]
            if x - radius > 0:
                for c in range(channels):
                    total[c] -= maps[y, x - radius - 1, c]
            scale = 1.0 / (min(x + radius, width - 1) - max(x - radius, 0) + 1)
            for c in range(channels):
                mean[y, x, c] = total[c] * scale


@njit(cache=True, nogil=True)
@no_type_check
def _box_columns(maps, radius, mean, start, stop):
    height, _, channels = maps.shape
    total = np.zeros((stop - start, channels), np.float64)
    for y in range(min(radius, height)):
        for x in range(start, stop):
            for c in range(channels):
                total[x - start, c] += maps[y, x, c]
    for y in range(height):
        if y + radius < height:
            for x in range(start, stop):
                for c in range(channels):
                    total[x - start, c] += maps[y + radius, x, c]
        if y - radius > 0:
            for x in range(start, stop):
                for c in range(channels):
                    total[x - start, c] -= maps[y - radius - 1, x, c]
        scale = 1.0 / (min(y + radius, height - 1) - max(y - radius, 0) + 1)
        for x in range(start, stop):
            for c in range(channels):
                mean[y, x, c] = total[x - start, c] * scale


@njit(cache=True, nogil=True)
@no_type_check
def _solve(colour, joint, epsilon):
    """Turn the means of colour times map (``joint``) into coefficients, in place."""
    height, width, channels = joint.shape
    num_maps = channels // 4
    for y in range(height):
        for x in range(width):
            # In double precision: the covariance of a grey image is singular but for epsilon.
            r, g, b, rr, rg, rb, gg, gb, bb = colour[y, x].astype(np.float64)
            rr, gg, bb = rr - r * r + epsilon, gg - g * g + epsilon, bb - b * b + epsilon
            rg, rb, gb = rg - r * g, rb - r * b, gb - g * b
            # Inverse of the symmetric covariance by its cofactors.
            i_rr, i_rg, i_rb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
            i_gg, i_gb, i_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
            scale = 1.0 / (rr * i_rr + rg * i_rg + rb * i_rb)
            for k in range(num_maps):
                mean = joint[y, x, 3 * num_maps + k]
                with_r = (joint[y, x, k] - r * mean) * scale
                with_g = (joint[y, x, num_maps + k] - g * mean) * scale
                with_b = (joint[y, x, 2 * num_maps + k] - b * mean) * scale
                on_r = i_rr * with_r + i_rg * with_g + i_rb * with_b
                on_g = i_rg * with_r + i_gg * with_g + i_gb * with_b
                on_b = i_rb * with_r + i_gb * with_g + i_bb * with_b
                joint[y, x, k], joint[y, x, num_maps + k], joint[y, x, 2 * num_maps + k] = on_r, on_g, on_b
                joint[y, x, 3 * num_maps + k] = mean - on_r * r - on_g * g - on_b * b


@njit(cache=True, nogil=True, fastmath={"contract"})
@no_type_check
def _evaluate(coefficients, guide, row_low, row_weight, column_low, column_weight, filtered, start, stop):
    height, width, channels = coefficients.shape
    num_maps = channels // 4
    row = np.empty((width, channels), np.float32)  # one output row, still at the small width
    here = np.empty(channels, np.float32)
    for y in range(start, stop):
        low, high, down = row_low[y], min(row_low[y] + 1, height - 1), row_weight[y]
        for x in range(width):
            for c in range(channels):
                top, bottom = coefficients[low, x, c], coefficients[high, x, c]
                row[x, c] = top + down * (bottom - top)
        for x in range(guide.shape[1]):
            left, right, along = column_low[x], min(column_low[x] + 1, width - 1), column_weight[x]
            for c in range(channels):
                here[c] = row[left, c] + along * (row[right, c] - row[left, c])
            red, green, blue = guide[y, x]
            for k in range(num_maps):
                value = here[k] * red + here[num_maps + k] * green + here[2 * num_maps + k] * blue
                filtered[y, x, k] = value + here[3 * num_maps + k]
