"""Cut an image into overlapping windows and blend the windows' class scores again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lexiseg.ops.resize import resize_rows

Blend: TypeAlias = Literal["mean", "tent"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of image pixels: rows ``top`` to ``top + height``, columns ``left`` to ``left + width``."""

    top: int
    left: int
    height: int
    width: int


def window_starts(size: int, window: int, stride: int) -> tuple[int, ...]:
    """Return the first pixel of every window along one axis, by mmsegmentation's rule.

    There are ``floor(max(size - window + stride - 1, 0) / stride) + 1`` windows; the last is
    shifted back to end at the border. An axis shorter than the window gets one, at 0.
    """
    count = max(size - window + stride - 1, 0) // stride + 1
    return tuple(max(min(index * stride, size - window), 0) for index in range(count))


def anchored_starts(length: int, window: int, stride: int, origin: int) -> tuple[int, ...]:
    """Return the first pixel of every window along one axis of an endless grid that the axis is a part of.

    The grid has a window at every multiple of ``stride``; the axis begins at its pixel ``origin``. Wherever the axis
    is cut, windows inside it stay where they are; the first and the last reach beyond it.

    Args:
        length: Pixels of the axis.
        window: Side of a window in pixels.
        stride: Pixels from one window to the next, at most ``window``.
        origin: Place of the axis's first pixel on the grid.

    Returns:
        Starts counted from the axis's first pixel; the first is 0 or below.
    """
    assert 0 < stride <= window, f"stride {stride} leaves gaps between windows of {window} pixels"
    first = -(origin % stride)
    count = max(0, -(-(length - window - first) // stride)) + 1
    return tuple(first + index * stride for index in range(count))


def windows(size: tuple[int, int], window: int, stride: int) -> tuple[Window, ...]:
    """Cover an image of ``size`` with square windows, row by row.

    Args:
        size: ``(height, width)`` of the image; an axis shorter than ``window`` is not padded, its
            windows are as short.
        window: Side of a window in pixels.
        stride: Pixels from one window to the next, at most ``window`` or pixels are left out.
    """
    assert 0 < stride <= window, f"stride {stride} leaves gaps between windows of {window} pixels"
    height, width = min(window, size[0]), min(window, size[1])
    return tuple(
        Window(top=top, left=left, height=height, width=width)
        for top in window_starts(size[0], window, stride)
        for left in window_starts(size[1], window, stride)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowWeights:
    """Weights of a window's pixels in a blend: the product of its row's and its column's.

    Attributes:
        rows: One a row of the window.
        columns: One a column.
    """

    rows: Float[Tensor, " H"]
    columns: Float[Tensor, " W"]

    def scaled(self, factor: float) -> "WindowWeights":
        """Return the weights times a factor."""
        return WindowWeights(rows=self.rows * factor, columns=self.columns)


def even_weights(placed: Sequence[Window], size: tuple[int, int]) -> tuple[WindowWeights, ...]:
    """Weigh windows less towards their edges, such that the weights of every pixel add up to one.

    Args:
        placed: Windows on a grid of rows and columns that cover the image.
        size: ``(height, width)`` of the image.
    """
    rows = _shares({(window.top, window.height) for window in placed}, size[0])
    columns = _shares({(window.left, window.width) for window in placed}, size[1])
    return tuple(
        WindowWeights(rows=rows[window.top, window.height], columns=columns[window.left, window.width])
        for window in placed
    )


def stitch_band(
    scores: Sequence[Float[Tensor, "K _ _"]],
    placed: Sequence[Window],
    size: tuple[int, int],
    rows: tuple[int, int],
    *,
    blend: Blend = "mean",
    weights: Sequence[WindowWeights] = (),
) -> Float[Tensor, "K _ _"]:
    """Blend the class scores of overlapping windows for some rows of the image.

    Each window's scores are resized bilinearly to the window's pixels, then averaged wherever
    windows overlap; see ``blend_band``.

    Args:
        scores: One score map a window, on that window's grid (grids may differ in size).
        placed: Where each window lies; together they cover the rows asked for.
        size: ``(height, width)`` of the image.
        rows: First row and end of the rows to make.
        blend: As for ``blend_band``.
        weights: As for ``blend_band``.
    """

    def resized(index: int, inside: tuple[int, int]) -> Float[Tensor, "K rows W"]:
        window = placed[index]
        return resize_rows(scores[index], (window.height, window.width), inside)

    return blend_band(resized, placed, size, rows, blend=blend, weights=weights)


def blend_band(
    values: Callable[[int, tuple[int, int]], Float[Tensor, "K _ _"]],
    placed: Sequence[Window],
    size: tuple[int, int],
    rows: tuple[int, int],
    *,
    blend: Blend = "mean",
    weights: Sequence[WindowWeights] = (),
) -> Float[Tensor, "K rows W"]:
    """Average overlapping windows for some rows of the image.

    Scores that agree stay what they are to the last bit, so one window stays as it is. Memory:
    ``K x rows x W`` and one window's part of it.

    Args:
        values: Gives the scores of a window's pixels, by its number, for rows of the window.
        placed: Where each window lies; together they cover the rows asked for.
        size: ``(height, width)`` of the image.
        rows: First row and end of the rows to make.
        blend: ``mean`` weighs all windows alike; ``tent`` lets a window's weight fall linearly
            from its middle towards its edges, where it stays above zero.
        weights: One a window, in place of ``blend``.
    """
    start, stop = rows
    if tuple(placed) == (Window(top=0, left=0, height=size[0], width=size[1]),):
        return values(0, rows)
    blended: Tensor | None = None
    for index, window in enumerate(placed):
        top, bottom = max(start, window.top), min(stop, window.top + window.height)
        if top >= bottom:
            continue
        inside = (top - window.top, bottom - window.top)
        columns = slice(window.left, window.left + window.width)
        found = values(index, inside)
        if blended is None:
            blended = found.new_zeros((found.shape[0], stop - start, size[1]))
            totals = found.new_zeros((stop - start, size[1]))
        weight = (pixel_weights(weights[index], found) if weights else _weights(window, blend, found))[
            slice(*inside)
        ]
        total = totals[top - start : bottom - start, columns]
        total += weight
        # A running mean, not a sum that is divided in the end: equal scores are then kept exactly.
        mean = blended[:, top - start : bottom - start, columns]
        mean += (found - mean) * (weight / total)
    assert blended is not None, "no window covers these rows"
    assert bool((totals > 0).all()), "the windows do not cover all rows"
    return blended


def pixel_weights(weights: WindowWeights, like: Tensor) -> Float[Tensor, "H W"]:
    """Multiply the weights of rows and columns, on the device and with the precision of a tensor."""
    return rearrange(weights.rows.to(like), "y -> y 1") * weights.columns.to(like)


def _shares(pieces: set[tuple[int, int]], length: int) -> dict[tuple[int, int], Float[Tensor, " n"]]:
    """Return the share of each piece of an axis in its pixels, by start and length."""
    total = torch.zeros(length)
    tents = {(start, size): _tent(size, total) for start, size in pieces}
    for (start, size), weights in tents.items():
        total[start : start + size] += weights
    return {(start, size): tents[start, size] / total[start : start + size] for start, size in tents}


def _weights(window: Window, blend: Blend, like: Tensor) -> Float[Tensor, "H W"]:
    if blend == "mean":
        return like.new_ones((window.height, window.width))
    return rearrange(_tent(window.height, like), "y -> y 1") * _tent(window.width, like)


def _tent(length: int, like: Tensor) -> Float[Tensor, " length"]:
    """Rise linearly from the edges to the middle: 1 2 3 3 2 1 over its maximum for six pixels."""
    rise = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
    tent = torch.minimum(rise, rise.flip(0))
    return tent / tent.max()
