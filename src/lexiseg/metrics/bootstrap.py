"""How much a score depends on which images happened to be in the test set.

Images are drawn with replacement, as many as there are, and the whole score is computed anew from
the summed counts of the draw (never averaged over images). The middle 95 % of many draws is the
interval. Two runs on the same images are compared draw by draw, which is far sharper than
comparing their intervals.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64

from lexiseg.core.compiled import njit
from lexiseg.core.errors import InputError
from lexiseg.metrics.image_counts import ImageMargins

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95

#: True, predicted and correct pixels of every class of one draw, to the numbers of interest.
Statistic = Callable[[Int64[np.ndarray, "3 K"]], Float64[np.ndarray, " S"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervals:
    """Middle 95 % of each number over the draws; NaN where it is never defined.

    Attributes:
        low: Lower ends.
        high: Upper ends of the intervals.
    """

    low: Float64[np.ndarray, " S"]
    high: Float64[np.ndarray, " S"]


def intervals(
    margins: ImageMargins,
    num_classes: int,
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Intervals:
    """Compute the interval of every number that ``statistic`` gives.

    Args:
        margins: Per-image counts.
        num_classes: Classes of the counts.
        statistic: From summed pixels to numbers.
        resamples: Draws; 1,000 settle the ends of an interval to about a tenth of its width.
        seed: Seed of the draws; equal seeds give equal intervals.
    """
    draws = [statistic(pixels) for (pixels,) in _draws((margins,), num_classes, resamples, seed)]
    return _middle(np.stack(draws))


def paired_intervals(
    first: ImageMargins,
    second: ImageMargins,
    num_classes: int,
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Intervals:
    """Compute the interval of the second minus the first, both on the same draws of the same images.

    Raises:
        InputError: The numbers of images differ.
    """
    if first.num_images != second.num_images:
        raise InputError(
            doing="comparing two runs image by image",
            found=f"{first.num_images} and {second.num_images} images",
            expected="the same images in both",
            fix="Complete the store that has fewer: run its lexiseg predict command again.",
        )
    draws = [statistic(b) - statistic(a) for a, b in _draws((first, second), num_classes, resamples, seed)]
    return _middle(np.stack(draws))


def _draws(
    runs: tuple[ImageMargins, ...], num_classes: int, resamples: int, seed: int
) -> Iterator[tuple[Int64[np.ndarray, "3 K"], ...]]:
    generator = np.random.default_rng(seed)
    num_images = runs[0].num_images
    for _ in range(resamples):
        weights = np.bincount(generator.integers(0, num_images, num_images), minlength=num_images)
        sums = []
        for run in runs:
            pixels = np.zeros((3, num_classes), np.int64)
            _sum(weights, run.image, run.label, run.amounts, pixels)
            sums.append(pixels)
        yield tuple(sums)


def _middle(draws: Float64[np.ndarray, "R S"]) -> Intervals:
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    ordered = np.sort(draws, axis=0)  # NaN last
    defined = (~np.isnan(ordered)).sum(0)
    low, high = (
        np.take_along_axis(ordered, np.maximum(np.rint(end * (defined - 1)), 0).astype(int)[None], 0)[0]
        for end in ends
    )
    return Intervals(low=low, high=high)


# The kernel carries no_type_check, or the tests' shape checker would wrap it and numba could not cache it.
@njit(cache=True, nogil=True)
@no_type_check
def _sum(weights, image, label, amounts, pixels):
    for row in range(image.size):
        weight = weights[image[row]]
        if weight:
            for kind in range(3):
                pixels[kind, label[row]] += weight * amounts[row, kind]
