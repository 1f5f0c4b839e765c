"""Tiles: an image much larger than the model's own size is seen whole, and again in windows of that size.

Shrunk to the model's size, such an image loses what is small in it. Windows alone lose what is large, and what a window
happens to cut through. So windows look at several sizes of the image, each half of the next, and the model's own scores
say which sizes decide: those where the best words score nearly as high as at any finer one. Their scores are averaged, with
weights like their sides, for what is small is seen at the finest alone. Windows lie half a window apart and weigh less
towards their edges, such that the weights of every pixel add up to one: where a window begins does not show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lexiseg.data.transforms import fitted_size
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.sliding_window import Window, window_starts

#: An image is tiled where its sides are more than this multiple of those it is shrunk to.
TILED_FROM = 1.5

#: Windows see at most this multiple of the shrunk sides: time and memory are bounded.
MAX_SCALE = 6.0

#: A size does not decide where the best words score on average this many times as high at a finer one.
MUCH_HIGHER = 1.25

#: Windows of an image at most, at all sizes together, whatever its shape.
MAX_WINDOWS = 160


@dataclass(frozen=True, kw_only=True)
class View:
    """An image at one size, and the windows of it that are encoded.

    Attributes:
        size: ``(height, width)``.
        windows: In its pixels.
    """

    size: tuple[int, int]
    windows: tuple[Window, ...]


def tiled_views(
    image_size: tuple[int, int], whole: tuple[int, int], stride: int, settings: InferenceSettings
) -> tuple[View, ...]:
    """Return how windows see a large image, the smallest size first.

    None where it is not large, or too long, or windows are not asked for. The largest size is the image's own as far as
    ``MAX_SCALE`` and ``MAX_WINDOWS`` let it; each other one is half of the next, down to ``TILED_FROM`` times the whole view.

    Args:
        image_size: ``(height, width)`` of the image.
        whole: Its size when it is shrunk to the model's.
        stride: The encoder's.
        settings: Say whether there are tiles, and how large the model's own size is.
    """
    shrunk_by = math.sqrt(math.prod(image_size) / math.prod(whole))
    if settings.tiles == "off" or shrunk_by <= TILED_FROM:
        return ()
    side = settings.window or max(1, round(settings.short_side / stride)) * stride
    scale = min(shrunk_by, MAX_SCALE)
    while scale >= TILED_FROM:
        halvings = max(0, math.ceil(math.log2(scale / TILED_FROM)) - 1)
        scales = [scale / 2**times for times in range(halvings, -1, -1)]
        views = tuple(_view(image_size, each / shrunk_by, side, stride) for each in scales)
        if sum(len(view.windows) for view in views) <= MAX_WINDOWS:
            return views
        scale *= 0.9
    return ()


def _view(image_size: tuple[int, int], scale: float, side: int, stride: int) -> View:
    """Place windows on an image at a multiple of its own size."""
    size = fitted_size(
        image_size,
        short_side=max(1, round(min(image_size) * scale)),
        max_long_side=10**9,
        multiple_of=stride,
    )
    return View(size=size, windows=_grid(size, side, max(1, side // 2 // stride) * stride, stride))


def placed_in(view: View, size: tuple[int, int]) -> tuple[Window, ...]:
    """Place the windows of a view in the pixels of another one of the same image."""
    down, along = size[0] / view.size[0], size[1] / view.size[1]
    placed = []
    for window in view.windows:
        top, left = round(window.top * down), round(window.left * along)
        bottom = round((window.top + window.height) * down)
        right = round((window.left + window.width) * along)
        placed.append(Window(top=top, left=left, height=max(1, bottom - top), width=max(1, right - left)))
    return tuple(placed)


def describe_tiles(image_size: tuple[int, int], views: Sequence[View]) -> dict[str, Any]:
    """Return what a record says of an image that was tiled, as plain values.

    Args:
        image_size: ``(height, width)`` of the image.
        views: It seen whole, then those of its tiles.
    """
    whole, *tiles = views
    first = tiles[-1].windows[0]
    return {
        "image_size": list(image_size),
        "whole_size": list(whole.size),
        "windows_size": list(tiles[-1].size),
        "window": [first.height, first.width],
        "num_windows": sum(len(view.windows) for view in tiles),
        "sizes": [{"size": list(view.size), "num_windows": len(view.windows)} for view in views],
        "blend": "windows weigh less towards their edges; sizes that decide weigh as their sides are long",
    }


def _grid(size: tuple[int, int], side: int, step: int, stride: int) -> tuple[Window, ...]:
    """Cover an image with windows at even distances of about ``step`` pixels, their patches on one grid."""
    tops, lefts = (_even_starts(length, side, step, stride) for length in size)
    height, width = min(side, size[0]), min(side, size[1])
    return tuple(Window(top=top, left=left, height=height, width=width) for top in tops for left in lefts)


def _even_starts(length: int, side: int, step: int, stride: int) -> tuple[int, ...]:
    count = len(window_starts(length, side, step))
    room = max(0, length - side) // stride
    return tuple(stride * round(index * room / max(1, count - 1)) for index in range(count))
