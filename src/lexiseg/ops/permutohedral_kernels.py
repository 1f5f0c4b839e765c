"""Compiled loops of the permutohedral lattice (``ops.permutohedral``)."""

from typing import no_type_check

import numpy as np

from lexiseg.core.compiled import njit
from lexiseg.ops.lanes import add_scaled, load, store, zeros

_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing
_BLOCK = 256  # points that are located together; their arrays fit the first cache


@njit(cache=True, nogil=True)
@no_type_check
def splat(values, column, first, members, weights, vertices, start, stop):
    """Sum the values of each vertex's points."""
    for vertex in range(start, stop):
        total = zeros()
        for entry in range(first[vertex], first[vertex + 1]):
            total = add_scaled(total, weights[entry], load(values, members[entry], column))
        store(vertices, vertex, 0, total)


@njit(cache=True, nogil=True)
@no_type_check
def blur(here, neighbours, there, start, stop):
    """Add half of both neighbours to each vertex; row 0 holds zeros."""
    half = np.float32(0.5)
    for vertex in range(start, stop):
        total = add_scaled(load(here, vertex, 0), half, load(here, neighbours[vertex, 0], 0))
        store(there, vertex, 0, add_scaled(total, half, load(here, neighbours[vertex, 1], 0)))


@njit(cache=True, nogil=True)
@no_type_check
def slice_back(vertices, corners, weights, factor, total, column, start, stop):
    """Add ``factor`` times the weighted values of each point's corners to ``total``."""
    for point in range(start, stop):
        found = zeros()
        for corner in range(corners.shape[1]):
            found = add_scaled(found, weights[point, corner], load(vertices, corners[point, corner], 0))
        store(total, point, column, add_scaled(load(total, point, column), factor, found))


@njit(cache=True, nogil=True, error_model="numpy")  # a division that may raise is not vectorised
@no_type_check
def locate(features, scales, origin, bits, keys, orders, weights, start, stop):
    """Find each point's simplex: the vertex of remainder 0, the order of coordinates, the weights."""
    dimensions = len(scales)  # a tuple: its length is known here, so that the short loops are unrolled
    corners = dimensions + 1
    size = np.float32(corners)
    # Points in blocks, the points innermost: these loops are vectorised.
    elevated = np.empty((corners, _BLOCK), np.float32)
    offset = np.empty((corners, _BLOCK), np.float32)
    nearest = np.empty((corners, _BLOCK), np.int32)
    rank = np.empty((corners, _BLOCK), np.int32)
    share = np.empty(corners, np.float32)
    for begin in range(start, stop, _BLOCK):
        count = min(_BLOCK, stop - begin)
        # Elevate: multiply by the matrix E of the paper, whose rows differ from a running sum by one term.
        elevated[0] = 0
        for i in range(dimensions, 0, -1):
            for at in range(count):
                scaled = features[i - 1, begin + at] * scales[i - 1]
                elevated[i, at] = elevated[0, at] - np.float32(i) * scaled
                elevated[0, at] += scaled
        # The nearest lattice point whose coordinates are multiples of D + 1 ...
        for i in range(corners):
            for at in range(count):
                multiple = np.floor(elevated[i, at] * (np.float32(1) / size))
                below = elevated[i, at] - multiple * size
                up = (multiple * size + size) - elevated[i, at] < below
                nearest[i, at] = np.int32(multiple) + np.int32(up)
                offset[i, at] = below - size * np.float32(up)
        # Rank the offsets, largest first; the sum of the nearest point says how far it is off the plane.
        rank[0] = 0
        for i in range(corners):
            for at in range(count):
                rank[0, at] += nearest[i, at]
        rank[1:] = rank[0]
        for i in range(corners):
            for j in range(i + 1, corners):
                for at in range(count):
                    closer = np.int32(offset[i, at] < offset[j, at])
                    rank[i, at] += closer
                    rank[j, at] += np.int32(1) - closer
        # ... moved back to the plane, where they sum to 0, along the coordinates that are furthest off.
        for at in range(count):
            key, order = np.int64(0), 0
            for i in range(corners):
                turn = (rank[i, at] < 0) - np.int32(rank[i, at] > dimensions)
                place = rank[i, at] + turn * corners
                order |= i << (3 * place)
                share[dimensions - place] = (offset[i, at] - np.float32(turn * corners)) / size
                # The key packs all coordinates but the last, which follows from them.
                if i < dimensions:
                    key |= ((nearest[i, at] + turn) * np.int64(corners) - origin[i]) << (bits * i)
            point = begin + at
            keys[point], orders[point] = key, order
            # Barycentric weights are differences of neighbouring offsets in order of rank.
            weights[point, 0] = np.float32(1) + share[0] - share[dimensions]
            for i in range(1, corners):
                weights[point, i] = share[i] - share[i - 1]


@njit(cache=True, nogil=True)
@no_type_check
def _slot(key, vertices, table):
    """Find where the table holds a vertex, or the free place where it belongs."""
    mask = len(table) - 1
    slot = np.int64((np.uint64(key) * _HASH) >> np.uint64(32)) & mask
    while table[slot] != 0 and vertices[table[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
@no_type_check
def number_vertices(keys, orders, bits, corners):
    """Number the corners of all simplices; return the keys by number and the hash table of numbers."""
    num_points, num_corners = corners.shape
    dimensions = num_corners - 1
    step = np.int64(0)  # one along all packed coordinates
    for i in range(dimensions):
        step |= np.int64(1) << (bits * i)
    vertices = np.empty(num_points * num_corners + 1, np.int64)
    vertices[0] = -1
    count = 1
    table = np.zeros(1 << 14, np.int32)
    recent = np.zeros(1 << 12, np.int32)  # points whose simplex is known, by its hash; others overwrite
    for point in range(num_points):
        # A simplex that another point had: copy its corners.
        mixed = np.uint64(keys[point] ^ (np.int64(orders[point]) << np.int64(40))) * _HASH
        place = np.int64(mixed >> np.uint64(52))
        known, recent[place] = recent[place], point
        if known < point and keys[point] == keys[known] and orders[point] == orders[known]:
            for corner in range(num_corners):
                corners[point, corner] = corners[known, corner]
            continue
        # Keep the hash table at most half full: grow it fourfold and insert all anew.
        if 2 * (count + num_corners) > len(table):
            table = np.zeros(4 * len(table), np.int32)
            for number in range(1, count):
                table[_slot(vertices[number], vertices, table)] = number
        key = keys[point]
        for corner in range(num_corners):
            # Look the corner up, and number it where it is new.
            slot = _slot(key, vertices, table)
            if table[slot] == 0:
                table[slot] = count
                vertices[count] = key
                count += 1
            corners[point, corner] = table[slot]
            # To the next corner: one up in all coordinates but that of the next rank, D down there.
            i = (orders[point] >> (3 * (dimensions - corner))) & 7
            key += step
            if i < dimensions:
                key -= np.int64(num_corners) << (bits * i)
    return vertices[:count].copy(), table


@njit(cache=True, nogil=True)
@no_type_check
def by_vertex(corners, weights, num_rows):
    """Sort the points' corners by vertex (a counting sort: points stay in order)."""
    num_points, num_corners = corners.shape
    # Count the entries of each vertex, then sum up to where each begins.
    first = np.zeros(num_rows + 1, np.int32)
    for point in range(num_points):
        for corner in range(num_corners):
            first[corners[point, corner] + 1] += 1
    for row in range(num_rows):
        first[row + 1] += first[row]
    # Put each entry behind the earlier ones of its vertex.
    place = first[:-1].copy()
    members = np.empty(num_points * num_corners, np.int32)
    member_weights = np.empty(num_points * num_corners, np.float32)
    for point in range(num_points):
        for corner in range(num_corners):
            vertex = corners[point, corner]
            members[place[vertex]] = point
            member_weights[place[vertex]] = weights[point, corner]
            place[vertex] += 1
    return first, members, member_weights


@njit(cache=True, nogil=True)
@no_type_check
def find_neighbours(vertices, table, bits, neighbours, start, stop):
    """Find each vertex's neighbours on both sides along every lattice direction."""
    num_corners = len(neighbours)
    step = np.int64(0)
    for i in range(num_corners - 1):
        step |= np.int64(1) << (bits * i)
    for direction in range(num_corners):
        # A lattice direction is one down in all coordinates and D up in its own.
        along = -step
        if direction < num_corners - 1:
            along += np.int64(num_corners) << (bits * direction)
        for vertex in range(max(1, start), stop):
            other = table[_slot(vertices[vertex] + along, vertices, table)]
            neighbours[direction, vertex, 0] = other
            if other != 0:  # only this vertex writes here, whichever thread has the other one
                neighbours[direction, other, 1] = vertex
