"""Kernels that put one thing into a scene: painted by its shape, or pasted from a cut-out."""

from typing import no_type_check

import numpy as np
from numba import njit

from lexiseg.data.scenes.random_numbers import between, direction, unit
from lexiseg.data.scenes.shapes import inside
from lexiseg.data.scenes.textures import thing_mix


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
    if unit(state) < tables.odd_colour_rate:
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
    picture = tables.cutouts[start + int(unit(state) * (stop - start))]
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
                        blended[channel] += share * picture[from_y, from_x, channel]
            if blended[3] <= 0.0:
                continue
            alpha = blended[3] / 255.0
            for channel in range(3):
                canvas[channel, y, x] = canvas[channel, y, x] * (1.0 - alpha) + blended[channel] * light
            if alpha >= 0.5:
                labels[y, x] = tables.thing_labels[thing]
