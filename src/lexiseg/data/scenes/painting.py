"""The kernel that paints scenes: images, label maps, and how many pixels of each class are visible."""

from typing import NamedTuple, no_type_check

import numpy as np

from lexiseg.core.compiled import njit
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.scenes.layout import HORIZON, choose_stuffs, choose_things, place_things, tile
from lexiseg.data.scenes.random_numbers import between, mixed, start_stream, unit
from lexiseg.data.scenes.settings import MAX_STUFFS, MAX_THINGS
from lexiseg.data.scenes.shapes import paint_thing, paste_thing
from lexiseg.data.scenes.textures import stuff_mix

# Streams of their own: other things leave the stuffs of a scene as they are.
_THINGS, _STUFFS, _LAYOUT, _PAINT, _GRAIN, _VOID = 1, 8, 2, 3, 4, 5


class Tables(NamedTuple):
    """What the kernel needs to know of a world. ``Kt`` things, ``Ks`` stuffs, ``C`` cut-outs.

    Attributes:
        size: Side of the image.
        thing_weights: Chance of each thing, ``Kt``.
        thing_labels: Label of each thing, ``Kt``; 65535 = void.
        thing_looks: Pattern, colour family and tilt of each thing, ``Kt 3``; without rows for cut-outs.
        families: Colours in 0..255, ``F 3``.
        cutouts: RGBA with the colours multiplied by alpha, ``C S S 4``; none for procedural things.
        cutout_rows: First cut-out of each thing and the one after its last, ``Kt 2``.
        stuff_weights: Chance of each stuff, ``Ks``.
        stuff_labels: Label of each stuff, ``Ks``.
        stuff_looks: Two colours, height and texture of each stuff, ``Ks 8``.
        common: The common thing, or -1.
        common_frequency: Share of scenes it is in.
        pairs: Two things a row, ``P 2``.
        pair_chances: Chance of both, ``P``.
        counts: Fewest and most things, fewest and most stuffs.
        thing_size: Smallest and largest diameter as shares of the side.
        overlap: How far things may cover each other.
        tilt: For cut-outs: largest turn as a sine.
        mirrored: For cut-outs: whether some are mirrored.
        colour_jitter: How far colours move.
        random_colour_rate: Chance of a colour of any family.
        void_share: Share of pixels made void.
        min_pixels: Classes with fewer visible pixels are void.
        noise: Amount of grain.
        texture_noise: As ``textures.noise_tables`` gave it.
    """

    size: int
    thing_weights: np.ndarray
    thing_labels: np.ndarray
    thing_looks: np.ndarray
    families: np.ndarray
    cutouts: np.ndarray
    cutout_rows: np.ndarray
    stuff_weights: np.ndarray
    stuff_labels: np.ndarray
    stuff_looks: np.ndarray
    common: int
    common_frequency: float
    pairs: np.ndarray
    pair_chances: np.ndarray
    counts: np.ndarray
    thing_size: np.ndarray
    overlap: float
    tilt: float
    mirrored: bool
    colour_jitter: float
    random_colour_rate: float
    void_share: float
    min_pixels: int
    noise: float
    texture_noise: np.ndarray


@njit(cache=True, nogil=True)
@no_type_check
def paint_scenes(tables, seed, first_index, images, label_maps, areas):
    """Paint the scenes from number ``first_index`` on.

    Args:
        tables: The world.
        seed: Which row of scenes.
        first_index: Number of the first scene.
        images: Filled with RGB, ``B 3 H W``.
        label_maps: Filled with labels, ``B H W``; 65535 = void.
        areas: Filled with the visible pixels of each label, ``B K``; 0 where they are too few.
    """
    size = tables.size
    state = np.empty(1, np.uint64)
    regions = np.empty((size, size), np.int64)
    canvas = np.empty((3, size, size), np.float32)
    things, stuffs = np.empty(MAX_THINGS + 1, np.int64), np.empty(MAX_STUFFS, np.int64)
    places = np.empty((MAX_THINGS + 1, 3))
    for row in range(len(images)):
        index = first_index + row
        labels = label_maps[row]
        start_stream(state, seed, index, _THINGS)
        num_things = choose_things(
            state, tables.thing_weights.copy(), tables.common, tables.common_frequency, tables.pairs,
            tables.pair_chances, tables.counts[0], tables.counts[1], things,
        )  # fmt: skip
        start_stream(state, seed, index, _STUFFS)
        num_stuffs = choose_stuffs(
            state, tables.stuff_weights.copy(), tables.counts[2], tables.counts[3], stuffs
        )
        start_stream(state, seed, index, _LAYOUT)
        kind = tile(state, num_stuffs, tables.texture_noise, regions)
        if kind == HORIZON:
            _sort_by_height(stuffs, num_stuffs, tables.stuff_looks)
        place_things(
            state, num_things, size, tables.thing_size[0], tables.thing_size[1], tables.overlap, places
        )
        start_stream(state, seed, index, _PAINT)
        _paint_stuffs(state, tables, stuffs, num_stuffs, regions, canvas, labels)
        for place in range(num_things):
            if len(tables.cutouts):
                paste_thing(state, tables, things[place], places[place], canvas, labels)
            else:
                paint_thing(state, tables, things[place], places[place], canvas, labels)
        start_stream(state, seed, index, _GRAIN)
        _finish(state, tables.noise, canvas, images[row])
        start_stream(state, seed, index, _VOID)
        _make_void(state, tables.void_share, labels)
        _count(labels, tables.min_pixels, areas[row])


@njit(cache=True, nogil=True)
@no_type_check
def _sort_by_height(stuffs, count, looks):
    for place in range(1, count):
        while place > 0 and looks[stuffs[place], 6] > looks[stuffs[place - 1], 6]:
            stuffs[place], stuffs[place - 1] = stuffs[place - 1], stuffs[place]
            place -= 1


@njit(cache=True, nogil=True)
@no_type_check
def _paint_stuffs(state, tables, stuffs, count, regions, canvas, labels):
    size = tables.size
    scale = max(1, size // 64)
    shifts = np.empty((MAX_STUFFS, 2), np.int64)
    colours, textures = np.empty((MAX_STUFFS, 6)), np.empty(MAX_STUFFS, np.int64)
    for place in range(count):
        shifts[place, 0], shifts[place, 1] = int(unit(state) * 256), int(unit(state) * 256)
        textures[place] = int(tables.stuff_looks[stuffs[place], 7])
        light = 1.0 + 0.3 * tables.colour_jitter * between(state, -1.0, 1.0)
        for channel in range(3):
            tint = light + 0.16 * tables.colour_jitter * between(state, -1.0, 1.0)
            colours[place, channel] = tables.stuff_looks[stuffs[place], channel] * tint
            colours[place, 3 + channel] = tables.stuff_looks[stuffs[place], 3 + channel] * tint
    for y in range(size):
        for x in range(size):
            place = regions[y, x]
            mix = stuff_mix(
                textures[place], x + shifts[place, 0], y + shifts[place, 1], y / size, scale,
                tables.texture_noise,
            )  # fmt: skip
            for channel in range(3):
                first = colours[place, channel]
                canvas[channel, y, x] = first + (colours[place, 3 + channel] - first) * mix
            labels[y, x] = tables.stuff_labels[stuffs[place]]


@njit(cache=True, nogil=True)
@no_type_check
def _finish(state, noise, canvas, image):
    """Add grain, and round to bytes."""
    size = canvas.shape[1]
    strength = np.float32(noise * 255.0 * 2.0 / (1 << 21))
    for y in range(size):
        for x in range(size):
            bits = mixed(state[0] + np.uint64(y * size + x))
            for channel in range(3):
                grain = np.float32(
                    np.int64((bits >> np.uint64(21 * channel)) & np.uint64(0x1FFFFF)) - (1 << 20)
                )
                value = canvas[channel, y, x] + grain * strength
                image[channel, y, x] = np.uint8(min(255.0, max(0.0, value + np.float32(0.5))))


@njit(cache=True, nogil=True)
@no_type_check
def _make_void(state, share, labels):
    """Make squares of a sixteenth of the side void, each with the same chance."""
    if share <= 0.0:
        return
    size = labels.shape[0]
    side = max(1, size // 16)
    for top in range(0, size, side):
        for left in range(0, size, side):
            if unit(state) < share:
                labels[top : top + side, left : left + side] = IGNORE_INDEX


@njit(cache=True, nogil=True)
@no_type_check
def _count(labels, min_pixels, areas):
    """Count the pixels of each label; labels with too few become void."""
    areas[:] = 0
    size = labels.shape[0]
    for y in range(size):
        for x in range(size):
            if labels[y, x] != IGNORE_INDEX:
                areas[labels[y, x]] += 1
    for y in range(size):
        for x in range(size):
            label = labels[y, x]
            if label != IGNORE_INDEX and areas[label] < min_pixels:
                labels[y, x] = IGNORE_INDEX
    for label in range(len(areas)):
        if areas[label] < min_pixels:
            areas[label] = 0
