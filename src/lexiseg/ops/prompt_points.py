"""Choose points inside a mask that lie far from its edge and from each other (RIM's Algorithm 1).

Wang et al., CVPR 2024, supplement: crowded points make SAM return a part of the object. After Li et al.,
"Adaptive Prototype Learning and Allocation for Few-Shot Segmentation", CVPR 2021. The number of points,
ties and what lies outside the map are not stated there: those are our readings.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.ndimage import distance_transform_edt

#: Lowest threshold that ``binarise`` tries, and its step.
_LOWEST, _STEP = 0.2, 0.1


def prompt_points(
    foreground: Bool[np.ndarray, "h w"], num_points: int = 5, *, outside_is_background: bool = False
) -> tuple[Int64[np.ndarray, "P 2"], Float64[np.ndarray, " P"]]:
    """Take, again and again, the foreground pixel farthest from the background and the points so far.

    Args:
        foreground: Where points may lie.
        num_points: At most so many; fewer where every foreground pixel is taken.
        outside_is_background: Whether what lies beyond the map counts as background. As printed, it
            does not; then objects cut by the frame get points at the frame.

    Returns:
        Row and column of each point, and its squared distance when it was chosen (infinite for the
        first where there is no background at all). Of equals the first in raster order is taken.
    """
    margin = int(outside_is_background)
    padded = np.pad(foreground, margin)
    height, width = padded.shape
    if padded.all():  # a distance transform has no answer then
        squares = np.full(padded.shape, np.inf)
    else:
        nearest = distance_transform_edt(padded, return_distances=False, return_indices=True)
        rows, columns = np.indices(padded.shape)
        squares = ((nearest[0] - rows) ** 2 + (nearest[1] - columns) ** 2).astype(np.float64)
    row, column = np.ogrid[:height, :width]
    points, distances = [], []
    for _ in range(min(num_points, foreground.size)):
        best = int(squares.argmax())
        y, x = divmod(best, width)
        if squares[y, x] == 0:
            break
        points.append((y - margin, x - margin))
        distances.append(float(squares[y, x]))
        squares = np.minimum(squares, (row - y) ** 2 + (column - x) ** 2)
    return np.array(points, np.int64).reshape(-1, 2), np.array(distances)


def stretch(attention: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Move a map's minimum to 0 and its maximum to 1; a constant map becomes zeros."""
    low, high = attention.min(), attention.max()
    return (attention - low) / (high - low) if high > low else np.zeros_like(attention)


def binarise(
    attention: Float32[np.ndarray, "h w"], *, threshold: float = 0.5, min_pixels: int = 5
) -> tuple[Bool[np.ndarray, "h w"], float] | None:
    """Cut a map in [0, 1] strictly above a threshold that falls until enough pixels are left.

    Returns:
        The foreground and the threshold used; None where even 0.2 leaves fewer than ``min_pixels``.
    """
    steps = max(0, round((threshold - _LOWEST) / _STEP))
    for step in range(steps + 1):
        tried = round(threshold - step * _STEP, 6)
        foreground = attention > tried
        if np.count_nonzero(foreground) >= min_pixels:
            return foreground, tried
    return None


def points_to_pixels(
    points: Int64[np.ndarray, "P 2"], map_size: tuple[int, int], image_size: tuple[int, int]
) -> Float64[np.ndarray, "P 2"]:
    """Turn row and column of map cells into x and y of their centres in the image."""
    scale = np.array(image_size) / np.array(map_size)
    return ((points + 0.5) * scale)[:, ::-1].copy()
