"""Resize class scores and take the best class, without ever holding all scores at full size.

Every label map in Lexiseg is made here: scores are resized bilinearly with half-pixel centres
(``align_corners=False``), and only then is the best class taken. The other order (argmax on the
grid, then nearest) moves borders; see hand example M2 in the tests.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, Int64, UInt16
from torch import Tensor

from lexiseg.core.constants import MAX_CLASSES
from lexiseg.ops.resize_kernels import best_of_grid, grid_at_labels
from lexiseg.ops.row_bands import for_bands

# Upsampled scores held at once on the torch path (other devices than the CPU), in numbers.
_CHUNK_NUMEL = 1 << 26


@dataclass(frozen=True, kw_only=True)
class RunningBest:
    """Best class so far in every pixel; chunks of classes are streamed into it.

    Attributes:
        labels: Class index, ``H W``; 0 where no class has been seen yet.
        best: Score of that class, on the scale of the scores; ``-inf`` where none has been seen.
    """

    labels: UInt16[np.ndarray, "H W"]
    best: Float32[np.ndarray, "H W"]

    @classmethod
    def empty(cls, size: tuple[int, int]) -> "RunningBest":
        """Build one that has seen no class."""
        return cls(labels=np.zeros(size, np.uint16), best=np.full(size, -np.inf, np.float32))


def resize_scores(scores: Float[Tensor, "B K h w"], size: tuple[int, int]) -> Float[Tensor, "B K H W"]:
    """Resize bilinearly with half-pixel centres: the definition that the fused forms are held to."""
    return torch.nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def resize_rows(
    scores: Float[Tensor, "K h w"],
    size: tuple[int, int],
    rows: tuple[int, int],
    *,
    source: tuple[int, int] | None = None,
) -> Float[Tensor, "K rows W"]:
    """Resize to ``size`` as ``resize_scores`` does, but compute output rows ``start`` to ``stop`` only.

    Constant scores stay constant to the last bit.

    Args:
        scores: Class scores on the grid.
        size: ``(height, width)`` of the whole output.
        rows: First output row, and the row after the last.
        source: ``(first row, height of the whole grid)`` when ``scores`` holds only some of its
            rows; at least those that ``source_rows`` names.
    """
    first, height = source or (0, scores.shape[1])
    above, below, down = bilinear_taps(height, size[0], scores.device)
    left, right, along = bilinear_taps(scores.shape[2], size[1], scores.device)
    above, below, down = above[slice(*rows)] - first, below[slice(*rows)] - first, down[slice(*rows)]
    down, along = rearrange(down, "y -> y 1").to(scores.dtype), along.to(scores.dtype)
    if height < size[0]:  # picking columns is the slow part: do it on the fewer rows; alike for every band
        wide = torch.lerp(scores[:, :, left], scores[:, :, right], along)
        return torch.lerp(wide[:, above], wide[:, below], down)
    tall = torch.lerp(scores[:, above], scores[:, below], down)
    return torch.lerp(tall[:, :, left], tall[:, :, right], along)


def scores_at(
    scores: Float[Tensor, "K h w"],
    labels: UInt16[np.ndarray, "H W"],
    *,
    into: Float32[np.ndarray, "H W"] | None = None,
) -> Float32[np.ndarray, "H W"]:
    """Return the resized score of the class that ``labels`` names, in every pixel; written over ``into`` where given."""
    above, _, down = (taps.numpy() for taps in bilinear_taps(scores.shape[1], labels.shape[0]))
    left, _, along = (taps.numpy() for taps in bilinear_taps(scores.shape[2], labels.shape[1]))
    found = np.empty(labels.shape, np.float32) if into is None else into
    on_cpu = scores.detach().to("cpu", torch.float32).contiguous().numpy()
    work = partial(grid_at_labels, on_cpu, labels, above, down, left, along, found)
    for_bands(work, labels.shape[0], min_rows=16)
    return found


def source_rows(height: int, out_height: int, rows: tuple[int, int]) -> tuple[int, int]:
    """Return the rows ``start`` to ``stop`` of a ``height`` row source that output ``rows`` are made from."""
    first, last, _ = bilinear_taps(height, out_height)
    return int(first[rows[0]]), int(last[rows[1] - 1]) + 1


def resize_argmax(
    scores: Float[Tensor, "K h w"],
    size: tuple[int, int],
    *,
    class_offset: int = 0,
    into: RunningBest | None = None,
    rows: tuple[int, int] | None = None,
    source: tuple[int, int] | None = None,
) -> RunningBest:
    """Resize bilinearly and take the best class, fused; equal to ``resize_scores`` then ``argmax``.

    On the CPU, each class is bilinear between four neighbouring grid points and so never above
    its best corner nor below its worst one. In each such cell only classes whose best corner
    reaches the highest worst corner are evaluated; for smooth scores those are a handful, so the
    time hardly depends on the number of classes. Memory is the result and a few rows of the grid.

    Args:
        scores: Finite class scores on the grid. Of two equal scores the lower index wins.
        size: ``(height, width)`` of the whole output.
        class_offset: Label of the first class in ``scores``, for streaming chunks of classes.
        into: Result of the chunks before, which had lower labels; updated in place and returned.
        rows: Make only output rows ``start`` to ``stop`` of ``size``; all by default.
        source: ``(first row, height of the whole grid)`` when ``scores`` holds only some of its
            rows; at least those that ``source_rows`` names.

    Returns:
        Labels and best scores, ``stop - start`` rows. Same arrays as ``into`` where it was given.
    """
    start, stop = rows or (0, size[0])
    first, height = source or (0, scores.shape[1])
    if (height, scores.shape[2]) == size and scores.device.type == "cpu":
        return _argmax_as_it_is(scores[:, start - first : stop - first], class_offset, into)
    best = into or RunningBest.empty((stop - start, size[1]))
    assert best.labels.shape == (stop - start, size[1]), f"{best.labels.shape} for rows {start} to {stop}"
    assert class_offset + scores.shape[0] <= MAX_CLASSES, "labels are 16 bit"
    if scores.device.type != "cpu":
        assert source is None, "parts of the grid are for the CPU, where memory is short"
        _argmax_chunked(scores, size, class_offset, best, (start, stop), _CHUNK_NUMEL)
        return best
    above, _, down = (taps.numpy() for taps in bilinear_taps(height, size[0]))
    left, _, along = (taps.numpy() for taps in bilinear_taps(scores.shape[2], size[1]))
    part = above[start:stop] - first
    present = part[0] >= 0 and min(part[-1] + 2, height - first) <= scores.shape[1]
    assert present, "rows of the grid are missing"
    work = partial(
        best_of_grid,
        scores.detach().to(torch.float32).contiguous().numpy(),
        part,
        down[start:stop],
        left,
        along,
        class_offset,
        best.labels,
        best.best,
    )
    for_bands(work, stop - start, min_rows=16)
    return best


def _argmax_as_it_is(
    scores: Float[Tensor, "K rows W"], class_offset: int, into: RunningBest | None
) -> RunningBest:
    """Take the best class of scores that have the size of the output: there is nothing to resize."""
    value, label = scores.float().max(dim=0)
    best = into or RunningBest.empty((scores.shape[1], scores.shape[2]))
    assert class_offset + scores.shape[0] <= MAX_CLASSES, "labels are 16 bit"
    found = value.numpy()
    wins = found > best.best
    np.copyto(best.best, found, where=wins)
    np.copyto(best.labels, (label.numpy() + class_offset).astype(np.uint16), where=wins)
    return best


def bilinear_taps(
    num_in: int, num_out: int, device: torch.device | None = None
) -> tuple[Int64[Tensor, " out"], Int64[Tensor, " out"], Float32[Tensor, " out"]]:
    """Return the two source indices and the weight of the second for every output position.

    In single precision, as torch computes them: double precision would differ in the last bit.
    """
    scale = torch.tensor(num_in, dtype=torch.float32) / num_out
    position = ((torch.arange(num_out, dtype=torch.float32) + 0.5) * scale - 0.5).clamp(min=0)
    low = position.to(torch.int64).clamp(max=num_in - 1)
    high = (low + 1).clamp(max=num_in - 1)
    return low.to(device), high.to(device), (position - low).clamp(0, 1).to(device)


def _argmax_chunked(
    scores: Float[Tensor, "K h w"],
    size: tuple[int, int],
    class_offset: int,
    best: RunningBest,
    rows: tuple[int, int],
    chunk_numel: int,
) -> None:
    """Do it in plain torch, some classes at a time, on the device of ``scores``."""
    labels = torch.from_numpy(best.labels.astype(np.int64)).to(scores.device)
    highest = torch.from_numpy(best.best).to(scores.device)
    num_classes = max(1, chunk_numel // (max(1, rows[1] - rows[0]) * size[1]))
    for first in range(0, scores.shape[0], num_classes):
        value, label = resize_rows(scores[first : first + num_classes].float(), size, rows).max(dim=0)
        wins = value > highest
        highest = torch.where(wins, value, highest)
        labels = torch.where(wins, label + (class_offset + first), labels)
    best.labels[:] = labels.cpu().numpy().astype(np.uint16)
    best.best[:] = highest.cpu().numpy()
