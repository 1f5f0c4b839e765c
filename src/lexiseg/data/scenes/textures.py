"""The textures of stuff and of things: a number from 0 to 1 at each pixel, between two colours."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from lexiseg.core.compiled import njit
from lexiseg.data.scenes.random_numbers import start_stream, unit

NOISE_SIDE = 256
_PERIODS = (1, 4, 16)
_PURPOSE = 7


@no_type_check
def _noise_kernel(periods, side):
    tables = np.empty((len(periods), side, side), np.float32)
    state = np.empty(1, np.uint64)
    for level in range(len(periods)):
        period = periods[level]
        cells = side // period
        start_stream(state, 0, level, _PURPOSE)
        lattice = np.empty((cells, cells), np.float64)
        for row in range(cells):
            for column in range(cells):
                lattice[row, column] = unit(state)
        for y in range(side):
            for x in range(side):
                row, column = y // period, x // period
                down, right = (y % period) / period, (x % period) / period
                down, right = down * down * (3.0 - 2.0 * down), right * right * (3.0 - 2.0 * right)
                below, beside = (row + 1) % cells, (column + 1) % cells
                top = lattice[row, column] + (lattice[row, beside] - lattice[row, column]) * right
                low = lattice[below, column] + (lattice[below, beside] - lattice[below, column]) * right
                tables[level, y, x] = top + (low - top) * down
    return tables


_make_noise = njit(cache=True, nogil=True)(_noise_kernel)


def noise_tables() -> Float32[np.ndarray, "3 256 256"]:
    """Make tileable noise in [0, 1] with features of 1, 4 and 16 pixels."""
    return _make_noise(np.array(_PERIODS), NOISE_SIDE)


@njit(cache=True, nogil=True)
@no_type_check
def _zigzag(value):
    """Go up and down between 0 and 1, once for every 1 of ``value``."""
    part = value - np.floor(value)
    return 2.0 * part if part < 0.5 else 2.0 - 2.0 * part


@njit(cache=True, nogil=True)
@no_type_check
def stuff_mix(texture, x, y, height, scale, noise):
    """Return the texture of a stuff at a pixel.

    Args:
        texture: Number in ``class_table.STUFFS``.
        x: Column, shifted at random; at least 0.
        y: Row, shifted at random; at least 0.
        height: Place from the top of the image, 0 to 1.
        scale: Size of bricks and waves; 1 for images of 64 pixels.
        noise: As ``noise_tables`` gave it.
    """
    grain = noise[0, y & 255, x & 255]
    fine = noise[1, y & 255, x & 255]
    coarse = noise[2, y & 255, x & 255]
    if texture == 0:  # grass: upright blades
        return 0.65 * noise[0, (y // (3 * scale)) & 255, x & 255] + 0.35 * coarse
    if texture == 1:  # sky: clouds, paler towards the horizon
        cloud = max(0.0, 2.2 * coarse - 1.0)
        return min(1.0, 0.35 * height + cloud)
    if texture == 2:  # sand: grains and ripples
        return 0.5 * grain + 0.4 * _zigzag((y + 6.0 * coarse) / (7.0 * scale)) + 0.1 * fine
    if texture == 3:  # water: waves
        crest = _zigzag((y + 7.0 * noise[2, y & 255, (x // 2) & 255]) / (5.0 * scale))
        return crest * crest * (0.6 + 0.4 * fine)
    if texture == 4:  # brick
        row = y // (6 * scale)
        column = (x + (row & 1) * 6 * scale) // (12 * scale)
        if y % (6 * scale) < scale or (x + (row & 1) * 6 * scale) % (12 * scale) < scale:
            return 1.0
        return 0.3 * noise[0, row & 255, column & 255] + 0.1 * grain
    if texture == 5:  # wood: grain along planks
        plank = y // (11 * scale)
        if y % (11 * scale) < scale:
            return 0.0
        line = _zigzag((y + 9.0 * noise[2, y & 255, (x // 3 + 37 * plank) & 255]) / (4.0 * scale))
        return 0.25 + 0.5 * line + 0.25 * noise[0, plank & 255, 0]
    if texture == 6:  # snow
        return 0.7 * coarse + 0.3 * grain
    if texture == 7:  # gravel: stones with dark gaps
        return 0.25 + 0.75 * fine if fine > 0.42 else 0.6 * fine
    if texture == 8:  # carpet: diamonds
        diamond = ((x + y) // (6 * scale) + (x - y + 1024) // (6 * scale)) & 1
        return 0.75 * diamond + 0.25 * grain
    if texture == 9:  # marble: veins
        vein = 1.0 - abs(2.0 * coarse - 1.0) * 3.5
        return 0.9 * vein if vein > 0.0 else 0.15 * fine
    if texture == 10:  # rock
        return min(1.0, max(0.0, 1.6 * (0.6 * coarse + 0.4 * fine) - 0.3))
    return 1.0 if grain > 0.985 else 0.15 * coarse  # night: stars


@njit(cache=True, nogil=True)
@no_type_check
def thing_mix(pattern, x, y):
    """Return the pattern of a thing at a point of the square from -1 to 1, by its number in ``PATTERNS``."""
    if pattern == 0:
        return 0.0
    if pattern == 1:
        return float(int(np.floor((x + y) * 2.6)) & 1)
    if pattern == 2:
        part_x, part_y = 2.2 * x - np.floor(2.2 * x) - 0.5, 2.2 * y - np.floor(2.2 * y) - 0.5
        return 1.0 if part_x * part_x + part_y * part_y < 0.11 else 0.0
    if pattern == 3:
        return float((int(np.floor(2.4 * x)) + int(np.floor(2.4 * y))) & 1)
    if pattern == 4:
        return float(int(np.floor(3.6 * np.sqrt(x * x + y * y))) & 1)
    if pattern == 5:
        return 1.0 if y > -0.08 else 0.0
    if pattern == 6:
        part_x, part_y = 2.5 * x - np.floor(2.5 * x), 2.5 * y - np.floor(2.5 * y)
        return 1.0 if part_x < 0.3 or part_y < 0.3 else 0.0
    return min(1.0, max(0.0, 0.5 + 0.5 * y))
