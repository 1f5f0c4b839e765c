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


def stitch_band(
    scores: Sequence[Float[Tensor, "K h w"]],
    placed: Sequence[Window],
    size: tuple[int, int],
    rows: tuple[int, int],
    *,
    blend: Blend = "mean",
) -> Float[Tensor, "K rows W"]:
    """Blend the class scores of overlapping windows for some rows of the image.

    Each window's scores are resized bilinearly to the window's pixels, then averaged wherever
    windows overlap; see ``blend_band``.

    Args:
        scores: One score map a window, on that window's grid (grids may differ in size).
        placed: Where each window lies; together they cover the rows asked for.
        size: ``(height, width)`` of the image.
        rows: First row and end of the rows to make.
        blend: As for ``blend_band``.
    """

    def resized(index: int, inside: tuple[int, int]) -> Float[Tensor, "K rows W"]:
        window = placed[index]
        return resize_rows(scores[index], (window.height, window.width), inside)

    return blend_band(resized, placed, size, rows, blend=blend)


def blend_band(
    values: Callable[[int, tuple[int, int]], Float[Tensor, "K _ _"]],
    placed: Sequence[Window],
    size: tuple[int, int],
    rows: tuple[int, int],
    *,
    blend: Blend = "mean",
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
    """
    start, stop = rows
    if len(placed) == 1 and (placed[0].top, placed[0].left, placed[0].height, placed[0].width) == (
        0,
        0,
        *size,
    ):
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
            weights = found.new_zeros((stop - start, size[1]))
        weight = _weights(window, blend, found)[slice(*inside)]
        total = weights[top - start : bottom - start, columns]
        total += weight
        # A running mean, not a sum that is divided in the end: equal scores are then kept exactly.
        mean = blended[:, top - start : bottom - start, columns]
        mean += (found - mean) * (weight / total)
    assert blended is not None, "no window covers these rows"
    assert bool((weights > 0).all()), "the windows do not cover all rows"
    return blended


def _weights(window: Window, blend: Blend, like: Tensor) -> Float[Tensor, "H W"]:
    if blend == "mean":
        return like.new_ones((window.height, window.width))
    return rearrange(_tent(window.height, like), "y -> y 1") * _tent(window.width, like)


def _tent(length: int, like: Tensor) -> Float[Tensor, " length"]:
    """Rise linearly from the edges to the middle: 1 2 3 3 2 1 over its maximum for six pixels."""
    rise = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
    tent = torch.minimum(rise, rise.flip(0))
    return tent / tent.max()
