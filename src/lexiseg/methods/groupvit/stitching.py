"""Bring the named segments of all windows together: one label for every pixel of the image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt16
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lexiseg.core.features import PatchFeatures
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_rows, source_rows
from lexiseg.ops.sliding_window import Window, WindowWeights, pixel_weights


@dataclass(frozen=True, kw_only=True)
class NamedSegments:
    """The segments of one window and what each scores for some classes.

    Attributes:
        window: Where it lies in the image that the model saw.
        segment_of: Segment of every pixel of the window.
        scores: One row a segment.
        weights: Of the window's pixels in the average, for a tiled image; None weighs all windows alike.
    """

    window: Window
    segment_of: UInt16[np.ndarray, "h w"]
    scores: Float[Tensor, "G C"]
    weights: WindowWeights | None = None

    def rows(self, start: int, stop: int) -> Float[Tensor, "C rows w"]:
        """Return the scores of the window's pixels, some rows of it."""
        place = torch.from_numpy(self.segment_of[start:stop].astype(np.int64))
        return rearrange(self.scores[place], "y x c -> c y x")


def segment_map(features: PatchFeatures, window: Window) -> UInt16[np.ndarray, "h w"]:
    """Assign every pixel of a window to its best segment: the patches' shares, resized bilinearly, then compared."""
    assert features.segments is not None, "an encoder without segments"
    shares = rearrange(features.segments.shares, "1 (h w) g -> g h w", h=features.grid[0])
    return resize_argmax(shares.cpu(), (window.height, window.width)).labels


def stitch(
    named: Sequence[NamedSegments], size: tuple[int, int], rows: tuple[int, int]
) -> Float[Tensor, "C rows W"]:
    """Average the scores of overlapping windows for some rows of the image that the model saw.

    Args:
        named: One entry a window; together they cover the rows.
        size: ``(height, width)`` of that image.
        rows: First row, and the row after the last.
    """
    start, stop = rows
    blended = torch.zeros(named[0].scores.shape[1], stop - start, size[1])
    totals = torch.zeros(stop - start, size[1])
    for each in named:
        window = each.window
        top, bottom = max(start, window.top), min(stop, window.top + window.height)
        if top >= bottom:
            continue
        across = slice(window.left, window.left + window.width)
        weight: Tensor | float = 1.0
        if each.weights is not None:
            weight = pixel_weights(each.weights, totals)[top - window.top : bottom - window.top]
        total = totals[top - start : bottom - start, across]
        total += weight
        # A running mean, not a sum that is divided in the end: equal scores are then kept exactly.
        mean = blended[:, top - start : bottom - start, across]
        mean += (each.rows(top - window.top, bottom - window.top) - mean) * (weight / total)
    return blended


def best_columns(
    named: Sequence[NamedSegments], seen_size: tuple[int, int], size: tuple[int, int], memory_mb: int
) -> RunningBest:
    """Find the best column of the scores for every pixel: windows averaged, resized once, compared.

    Args:
        named: One entry a window.
        seen_size: ``(height, width)`` of the image that the model saw.
        size: ``(height, width)`` of the result.
        memory_mb: Working memory.
    """
    best = RunningBest.empty(size)
    for rows in _bands(named[0].scores.shape[1], seen_size, size, memory_mb):
        first, stop = source_rows(seen_size[0], size[0], rows)
        view = RunningBest(labels=best.labels[slice(*rows)], best=best.best[slice(*rows)])
        stitched = stitch(named, seen_size, (first, stop))
        resize_argmax(stitched, size, into=view, rows=rows, source=(first, seen_size[0]))
    return best


def thresholds(
    named: Sequence[NamedSegments],
    kept: Sequence[Float[Tensor, " G"]],
    best: Float32[np.ndarray, "H W"],
    seen_size: tuple[int, int],
    memory_mb: int,
) -> Float32[np.ndarray, "H W"]:
    """Compute the threshold of each pixel above which it is background.

    At a threshold every segment that is not kept up to it votes 1 for background. Votes are averaged over
    windows and resized as scores are, and background wins where they reach the best score. They only grow with
    the threshold, step by step, so that one number a pixel says for which thresholds that is.

    Args:
        named: One entry a window.
        kept: Of each window's segments, as ``affinity.kept_up_to`` gives it.
        best: Best score of every pixel of the result.
        seen_size: ``(height, width)`` of the image that the model saw.
        memory_mb: Working memory.

    Returns:
        In [0, 1]; 1 where no threshold makes background win.
    """
    steps = torch.unique(torch.cat(list(kept)))
    votes = [
        replace(each, scores=(own[:, None] <= steps).float()) for each, own in zip(named, kept, strict=True)
    ]
    size = (best.shape[0], best.shape[1])
    found = np.ones(size, np.float32)
    for rows in _bands(len(steps), seen_size, size, memory_mb):
        first, stop = source_rows(seen_size[0], size[0], rows)
        stitched = stitch(votes, seen_size, (first, stop))
        won = resize_rows(stitched, size, rows, source=(first, seen_size[0]))
        won = (won >= torch.from_numpy(best[slice(*rows)])) & (won > 0)
        # The steps at which background wins are the last ones: the first of them counts.
        step = (~won).sum(0).clamp(max=len(steps) - 1)
        found[slice(*rows)] = torch.where(won.any(0), steps[step], torch.ones(())).numpy()
    return found


def grid_columns(
    named: Sequence[NamedSegments], seen_size: tuple[int, int], stride: int
) -> Float[Tensor, "C h w"]:
    """Average the scores over the pixels of each patch of the image that the model saw."""
    bands = [
        avg_pool2d(stitch(named, seen_size, (top, top + stride)), stride)
        for top in range(0, seen_size[0], stride)
    ]
    return torch.cat(bands, dim=1)


def _bands(
    num_columns: int, seen_size: tuple[int, int], size: tuple[int, int], memory_mb: int
) -> Iterator[tuple[int, int]]:
    """Cut the rows of the result so that the stitched scores of one band fit the working memory."""
    bytes_per_row = 4 * 3 * num_columns * seen_size[1] * max(1.0, seen_size[0] / size[0])
    step = max(1, int(memory_mb * 2**20 / bytes_per_row))
    for top in range(0, size[0], step):
        yield top, min(top + step, size[0])
