"""Horizontal flip of pictures and label maps together."""

import numpy as np


def flip_horizontally(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mirror arrays ``H W …`` left to right; views, no pixel is copied."""
    return tuple(array[:, ::-1] for array in arrays)
