"""Masks: regions of one image that say where, not what."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Hard masks of one image. They may overlap, need not cover it, and there may be none.

    Attributes:
        masks: ``M H W``, at the size of the image they were proposed on.
        scores: How sure the proposer is of each, higher is better; None where it does not say.
    """

    masks: Bool[np.ndarray, "M H W"]
    scores: Float32[np.ndarray, " M"] | None = None

    def __post_init__(self) -> None:
        assert self.scores is None or len(self.scores) == len(self.masks), "one score a mask"

    def __len__(self) -> int:
        return len(self.masks)

    @cached_property
    def areas(self) -> Int64[np.ndarray, " M"]:
        """Pixels of each mask."""
        return np.array([np.count_nonzero(mask) for mask in self.masks], np.int64)

    @cached_property
    def boxes(self) -> Int32[np.ndarray, "M 4"]:
        """Tight boxes: left, top, right, bottom, the last two exclusive; zeros for an empty mask."""
        found = np.zeros((len(self.masks), 4), np.int32)
        for index, mask in enumerate(self.masks):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows):
                found[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return found

    @property
    def coverage(self) -> float:
        """Share of the image under at least one mask."""
        return float(self.masks.any(axis=0).mean()) if self.masks.size else 0.0
