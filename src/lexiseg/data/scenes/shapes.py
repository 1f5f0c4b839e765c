"""Kernels that put one thing into a scene: painted by its outline, or pasted from a cut-out.

Outlines say whether a point is inside, on the square from -1 to 1 (y points down), by sums, products and comparisons
only: the masks are the same on every machine.
"""

from typing import no_type_check

import numpy as np

from lexiseg.core.compiled import njit
from lexiseg.data.scenes.random_numbers import between, direction, unit
from lexiseg.data.scenes.textures import thing_mix


@njit(cache=True, nogil=True)
@no_type_check
def _circle(x, y, centre_x, centre_y, radius):
    return (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius * radius


@njit(cache=True, nogil=True)
@no_type_check
def _oval(x, y, centre_x, centre_y, half_width, half_height):
    return ((x - centre_x) / half_width) ** 2 + ((y - centre_y) / half_height) ** 2 < 1.0


@njit(cache=True, nogil=True)
@no_type_check
def _star(x, y):
    # A pentagram: inside of at least four of its five lines, each 0.309 from the centre.
    count = 0
    for tip_x, tip_y in ((0.0, -1.0), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309)):
        count += -(x * tip_x + y * tip_y) < 0.36
    return count >= 4 and x * x + y * y < 1.1


@njit(cache=True, nogil=True)
@no_type_check
def _heart(x, y):
    x, up = 1.15 * x, 0.12 - 1.12 * y
    part = x * x + up * up - 1.0
    return part * part * part - x * x * up * up * up < 0.0


@njit(cache=True, nogil=True)
@no_type_check
def _flower(x, y):
    if _circle(x, y, 0.0, 0.0, 0.4):
        return True
    for petal_x, petal_y in ((0.6, 0.0), (0.3, 0.52), (-0.3, 0.52), (-0.6, 0.0), (-0.3, -0.52), (0.3, -0.52)):
        if _circle(x, y, petal_x, petal_y, 0.36):
            return True
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _gear(x, y):
    radius = x * x + y * y
    if radius < 0.09 or radius > 1.0:
        return False
    if radius < 0.5:
        return True
    for normal_x, normal_y in ((1.0, 0.0), (0.707, 0.707), (0.0, 1.0), (-0.707, 0.707)):
        if abs(x * normal_x + y * normal_y) < 0.19:
            return True
    return False


@njit(cache=True, nogil=True)
@no_type_check
def _boat(x, y):
    hull = 0.3 < y < 0.85 and abs(x) < 0.98 - (y - 0.3) * 0.8
    mast = abs(x) < 0.08 and -1.0 < y <= 0.3
    right = -1.0 < y <= 0.3 and 0.0 < x < (y + 1.0) * 0.65
    left = -0.7 < y <= 0.3 and -(y + 0.7) * 0.65 < x < 0.0
    return hull or mast or right or left


@njit(cache=True, nogil=True)
@no_type_check
def _tree(x, y):
    top = -1.0 < y < 0.0 and abs(x) < (y + 1.0) * 0.6
    crown = -0.5 < y < 0.65 and abs(x) < (y + 0.5) * 0.72
    return top or crown or (abs(x) < 0.18 and 0.6 < y < 1.0)


@njit(cache=True, nogil=True)
@no_type_check
def _butterfly(x, y):
    x = abs(x)
    return (
        _oval(x, y, 0.52, -0.38, 0.46, 0.5)
        or _oval(x, y, 0.42, 0.45, 0.38, 0.4)
        or (x < 0.1 and abs(y) < 0.75)
    )


@njit(cache=True, nogil=True)
@no_type_check
def _key(x, y):
    bow = _circle(x, y, 0.0, -0.5, 0.5) and not _circle(x, y, 0.0, -0.5, 0.2)
    shaft = abs(x) < 0.17 and -0.1 < y < 1.0
    teeth = 0.0 < x < 0.5 and (0.4 < y < 0.62 or 0.78 < y < 1.0)
    return bow or shaft or teeth


@njit(cache=True, nogil=True)
@no_type_check
def inside(shape, x, y):
    """Return whether a point is inside of a shape, by its number in ``class_table.THINGS``."""
    if shape == 0:  # person: a head and shoulders
        return _circle(x, y, 0.0, -0.58, 0.38) or (y < 0.95 and _oval(x, y, 0.0, 0.98, 0.74, 1.12))
    if shape == 1:
        return _star(x, y)
    if shape == 2:  # ring
        return 0.27 < x * x + y * y < 1.0
    if shape == 3:  # house
        return (abs(x) < 0.72 and -0.15 < y < 0.95) or (-1.0 < y <= -0.15 and abs(x) < (y + 1.0) * 1.15)
    if shape == 4:
        return _heart(x, y)
    if shape == 5:  # fish
        return _oval(x, y, -0.22, 0.0, 0.76, 0.52) or (0.3 < x < 1.0 and abs(y) < (x - 0.2) * 0.75)
    if shape == 6:
        return _tree(x, y)
    if shape == 7:  # cross
        return (abs(x) < 0.32 and abs(y) < 0.95) or (abs(y) < 0.32 and abs(x) < 0.95)
    if shape == 8:  # moon
        return x * x + y * y < 1.0 and not _circle(x, y, 0.48, -0.12, 0.78)
    if shape == 9:
        return _boat(x, y)
    if shape == 10:
        return _flower(x, y)
    if shape == 11:  # diamond
        return abs(x) / 0.66 + abs(y) < 1.0
    if shape == 12:  # mushroom
        return (y < 0.1 and _oval(x, y, 0.0, 0.1, 1.0, 1.0)) or (abs(x) < 0.34 and 0.0 < y < 0.95)
    if shape == 13:  # arrow
        return (-1.0 < x < 0.15 and abs(y) < 0.27) or (0.1 < x < 1.0 and abs(y) < (1.0 - x) * 0.85)
    if shape == 14:  # leaf
        return (abs(x) + 0.6) ** 2 + y * y < 1.36
    if shape == 15:  # cup
        handle = x > 0.3 and _circle(x, y, 0.45, 0.0, 0.5) and not _circle(x, y, 0.45, 0.0, 0.24)
        return handle or (-0.85 < x < 0.45 and abs(y) < 0.75)
    if shape == 16:
        return _butterfly(x, y)
    if shape == 17:  # drop
        return _circle(x, y, 0.0, 0.35, 0.62) or (-1.0 < y < 0.07 and abs(x) < (y + 1.0) * 0.517)
    if shape == 18:
        return _gear(x, y)
    if shape == 19:  # hourglass
        return abs(y) < 0.95 and abs(x) < 0.14 + abs(y) * 0.62
    if shape == 20:
        return _key(x, y)
    if shape == 21:  # circle
        return x * x + y * y < 0.92
    if shape == 22:  # triangle
        return -0.95 < y < 0.75 and abs(x) < (y + 0.95) * 0.58
    return abs(x) < 0.78 and abs(y) < 0.78  # square


@njit(cache=True, nogil=True)
@no_type_check
def _turned(state, tilt):
    """Draw a turn as cosine and sine: any where ``tilt`` is 2, else up to that sine to either side."""
    if tilt >= 2.0:
        return direction(state)
    sine = between(state, -tilt, tilt)
    return np.sqrt(1.0 - sine * sine), sine


@njit(cache=True, nogil=True)
@no_type_check
def paint_thing(state, tables, thing, place, canvas, labels):
    """Paint a thing by its shape and pattern, four samples a pixel; label what is covered by half."""
    size = tables.size
    pattern, family = int(tables.thing_looks[thing, 0]), int(tables.thing_looks[thing, 1])
    cosine, sine = _turned(state, tables.thing_looks[thing, 2])
    stretch = 1.0 + between(state, -0.12, 0.12)
    mirror = 1.0 if unit(state) < 0.5 else -1.0
    phase_x, phase_y = unit(state), unit(state)
    if unit(state) < tables.random_colour_rate:
        family = int(unit(state) * len(tables.families))
    light = 1.0 + 0.35 * tables.colour_jitter * between(state, -1.0, 1.0)
    pale = unit(state) < 0.6
    first, second = np.empty(3), np.empty(3)
    for channel in range(3):
        move = 70.0 * tables.colour_jitter * between(state, -1.0, 1.0)
        first[channel] = min(255.0, max(0.0, tables.families[family, channel] * light + move))
        second[channel] = 0.3 * first[channel] + 172.0 if pale else 0.42 * first[channel]
    if pattern in (4, 5, 7):  # rings, halves and fades keep their places: they belong to the shape
        phase_x = phase_y = 0.0
    radius = place[2]
    reach = int(radius * 1.3) + 2
    left, top = int(place[0]), int(place[1])
    for y in range(max(0, top - reach), min(size, top + reach + 1)):
        for x in range(max(0, left - reach), min(size, left + reach + 1)):
            covered, rim = 0, 0
            for part in range(4):
                right = (x + 0.25 + 0.5 * (part & 1) - place[0]) / radius
                down = (y + 0.25 + 0.5 * (part >> 1) - place[1]) / radius
                u = mirror * (right * cosine + down * sine) * stretch
                v = (down * cosine - right * sine) / stretch
                if inside(thing, u, v):
                    covered += 1
                    grown = 1.0 + 1.6 / radius
                    rim += not inside(thing, u * grown, v * grown)
            if covered == 0:
                continue
            right, down = (x + 0.5 - place[0]) / radius, (y + 0.5 - place[1]) / radius
            u = mirror * (right * cosine + down * sine) * stretch
            v = (down * cosine - right * sine) / stretch
            mix = thing_mix(pattern, u + phase_x, v + phase_y)
            shade = (1.06 - 0.12 * down) * (1.0 - 0.45 * rim / covered)
            cover = 0.25 * covered
            for channel in range(3):
                colour = (first[channel] + (second[channel] - first[channel]) * mix) * shade
                canvas[channel, y, x] += (colour - canvas[channel, y, x]) * cover
            if covered >= 2:
                labels[y, x] = tables.thing_labels[thing]


@njit(cache=True, nogil=True)
@no_type_check
def paste_thing(state, tables, thing, place, canvas, labels):
    """Paste a cut-out, four interpolated samples a pixel; label where its alpha is at least a half."""
    size, side = tables.size, tables.cutouts.shape[1]
    start, stop = tables.cutout_rows[thing, 0], tables.cutout_rows[thing, 1]
    image = tables.cutouts[start + int(unit(state) * (stop - start))]
    cosine, sine = _turned(state, tables.tilt)
    mirror = -1.0 if unit(state) < 0.5 and tables.mirrored else 1.0
    light = 1.0 + 0.3 * tables.colour_jitter * between(state, -1.0, 1.0)
    radius = place[2]
    reach = int(radius * 1.42) + 2
    left, top = int(place[0]), int(place[1])
    blended = np.empty(4)
    for y in range(max(0, top - reach), min(size, top + reach + 1)):
        for x in range(max(0, left - reach), min(size, left + reach + 1)):
            blended[:] = 0.0
            for part in range(4):
                right = (x + 0.25 + 0.5 * (part & 1) - place[0]) / radius
                down = (y + 0.25 + 0.5 * (part >> 1) - place[1]) / radius
                column = 0.5 * (mirror * (right * cosine + down * sine) + 1.0) * side - 0.5
                line = 0.5 * (down * cosine - right * sine + 1.0) * side - 0.5
                if column <= -1.0 or line <= -1.0 or column >= side or line >= side:
                    continue
                at_x, at_y = int(np.floor(column)), int(np.floor(line))
                for corner in range(4):
                    from_x, from_y = at_x + (corner & 1), at_y + (corner >> 1)
                    if from_x < 0 or from_y < 0 or from_x >= side or from_y >= side:
                        continue
                    share = 0.25 * (1.0 - abs(column - from_x)) * (1.0 - abs(line - from_y))
                    for channel in range(4):
                        blended[channel] += share * image[from_y, from_x, channel]
            if blended[3] <= 0.0:
                continue
            alpha = blended[3] / 255.0
            for channel in range(3):
                canvas[channel, y, x] = canvas[channel, y, x] * (1.0 - alpha) + blended[channel] * light
            if alpha >= 0.5:
                labels[y, x] = tables.thing_labels[thing]
