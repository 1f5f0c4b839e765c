"""Look-ups over whole label maps some rows at a time: numpy makes 64-bit indices of all labels that it is given."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt16

#: Pixels at once.
_PIXELS = 1 << 20


def label_counts(
    labels: UInt16[np.ndarray, "H W"], num_labels: int, scores: Float32[np.ndarray, "H W"] | None = None
) -> tuple[Int64[np.ndarray, " K"], Float64[np.ndarray, " K"]]:
    """Count the pixels of each label, and add up their scores.

    Args:
        labels: The label map.
        num_labels: Counts at least; more where there are higher labels.
        scores: None for none: sums are then the counts.
    """
    num_labels = max(num_labels, int(labels.max(initial=0)) + 1)
    counts, sums = np.zeros(num_labels, np.int64), np.zeros(num_labels)
    for rows in _bands(labels):
        flat = labels[rows].ravel()
        counts += np.bincount(flat, minlength=num_labels)
        if scores is not None:
            sums += np.bincount(flat, weights=scores[rows].ravel(), minlength=num_labels)
    return counts, counts.astype(np.float64) if scores is None else sums


def relabel(labels: UInt16[np.ndarray, "H W"], to: UInt16[np.ndarray, " K"]) -> UInt16[np.ndarray, "H W"]:
    """Put ``to[label]`` for each label, in place; return the map."""
    for rows in _bands(labels):
        labels[rows] = to[labels[rows]]
    return labels


def _bands(labels: UInt16[np.ndarray, "H W"]) -> Iterator[slice]:
    height, width = labels.shape
    step = max(1, _PIXELS // max(1, width))
    for top in range(0, height, step):
        yield slice(top, top + step)
