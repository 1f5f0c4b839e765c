"""Kernels that decide what is in a scene and where."""

from typing import no_type_check

import numpy as np

from lexiseg.core.compiled import njit
from lexiseg.data.scenes.random_numbers import between, by_weight, direction, unit

_PLACES_TRIED = 12
HORIZON, BANDS, CELLS = 0, 1, 2


@njit(cache=True, nogil=True)
@no_type_check
def choose_things(state, weights, common, common_frequency, pairs, pair_chances, low, high, chosen):
    """Choose the things of a scene, none twice; return their number.

    Args:
        state: The stream.
        weights: Chance of each thing, ``Kt``; changed here.
        common: The thing that is almost always there, or -1; its weight is 0.
        common_frequency: The share of scenes it is in.
        pairs: Two things a row, ``P 2``.
        pair_chances: Chance that both are there when either is.
        low: Fewest things.
        high: Most things.
        chosen: Filled with the things in the order in which they are painted.
    """
    wanted = low + int(unit(state) * (high - low + 1))
    count = 0
    if common >= 0 and unit(state) < common_frequency:
        chosen[0] = common
        count = 1
    while count < wanted:
        thing = by_weight(state, weights)
        if thing < 0:
            break
        weights[thing] = 0.0
        chosen[count] = thing
        count += 1
        for row in range(len(pairs)):
            if pairs[row, 0] != thing and pairs[row, 1] != thing:
                continue
            other = pairs[row, 0] + pairs[row, 1] - thing
            possible = weights[other] > 0.0
            weights[other] = 0.0
            if unit(state) >= pair_chances[row] or not possible:
                continue
            if count < high:
                chosen[count] = other
                count += 1
            else:
                _replace_lonely(chosen, count, thing, other, common, pairs)
    for place in range(count - 1, 0, -1):  # shuffled: otherwise the common class would lie behind all
        other_place = int(unit(state) * (place + 1))
        chosen[place], chosen[other_place] = chosen[other_place], chosen[place]
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _replace_lonely(chosen, count, thing, other, common, pairs):
    """Put ``other`` in the place of a thing that is of no pair and not the common one."""
    for place in range(count):
        candidate = chosen[place]
        lonely = candidate not in (thing, common)
        for row in range(len(pairs)):
            lonely = lonely and pairs[row, 0] != candidate and pairs[row, 1] != candidate
        if lonely:
            chosen[place] = other
            return


@njit(cache=True, nogil=True)
@no_type_check
def choose_stuffs(state, weights, low, high, chosen):
    """Choose the stuffs of a scene, none twice; return their number. ``weights`` is changed."""
    wanted = low + int(unit(state) * (high - low + 1))
    count = 0
    while count < wanted:
        stuff = by_weight(state, weights)
        if stuff < 0:
            break
        weights[stuff] = 0.0
        chosen[count] = stuff
        count += 1
    return count


@njit(cache=True, nogil=True)
@no_type_check
def tile(state, count, noise, regions):
    """Divide an image into ``count`` regions with uneven borders; return the kind of division.

    Horizon: level bands, region 0 at the top. Bands: the same at any angle. Cells: nearest of some points.
    """
    size = regions.shape[0]
    if count == 1:
        regions[:] = 0
        return HORIZON
    drawn = unit(state)
    kind = HORIZON if drawn < 0.5 else (BANDS if drawn < 0.75 else CELLS)
    shift_x, shift_y = int(unit(state) * 256), int(unit(state) * 256)
    right, down = direction(state)
    if kind == HORIZON:
        right, down = between(state, -0.12, 0.12), 1.0
    rough = between(state, 0.05, 0.3)
    first = between(state, -0.1, 0.1)
    for y in range(size):
        for x in range(size):
            part_x, part_y = (x + 0.5) / size - 0.5, (y + 0.5) / size - 0.5
            bend = noise[2, (y * 64 // size + shift_y) & 255, (x * 64 // size + shift_x) & 255] - 0.5
            if kind != CELLS:
                along = 0.5 + first + (part_x * right + part_y * down) + rough * bend
                regions[y, x] = min(count - 1, max(0, int(np.floor(along * count))))
                continue
            best, nearest = 0, 1e9
            point_x, point_y = right, down
            for region in range(count):
                far = (part_x - 0.3 * point_x + rough * bend) ** 2 + (part_y - 0.3 * point_y) ** 2
                if far < nearest:
                    best, nearest = region, far
                if count == 2:
                    point_x, point_y = -point_x, -point_y
                elif count == 3:
                    point_x, point_y = -0.5 * point_x - 0.866 * point_y, 0.866 * point_x - 0.5 * point_y
                else:
                    point_x, point_y = -point_y, point_x
            regions[y, x] = best
    return kind


@njit(cache=True, nogil=True)
@no_type_check
def place_things(state, count, size, smallest, largest, overlap, places):
    """Place things, not too much over one another.

    Args:
        state: The stream.
        count: Number of things.
        size: Side of the image.
        smallest: Smallest diameter as a share of the side.
        largest: Largest diameter.
        overlap: 0 hardly, 1 freely.
        places: Filled with column, row and radius in pixels, one row a thing.
    """
    shrink = 1.0 if count <= 3 else 0.9 if count == 4 else 0.8
    for thing in range(count):
        radius = 0.5 * size * between(state, smallest, largest) * shrink
        edge = min(0.5 * size, 0.85 * radius)
        best = -1e9
        for _ in range(_PLACES_TRIED):
            x, y = between(state, edge, size - edge), between(state, edge, size - edge)
            room = 1e9
            for other in range(thing):
                far = np.sqrt((x - places[other, 0]) ** 2 + (y - places[other, 1]) ** 2)
                room = min(room, far / (radius + places[other, 2]))
            if room > best:
                best = room
                places[thing, 0], places[thing, 1], places[thing, 2] = x, y, radius
            if room >= 1.0 - overlap:
                break
