"""Random erasing: a rectangle of an image becomes noise, pixel by pixel.

Zhong, Zheng, Kang, Li, Yang: "Random Erasing Data Augmentation" (AAAI 2020).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from lexiseg.core.errors import InputError

_ATTEMPTS = 10
# Noise of mean 0 and deviation 1 after the normalisation by ImageNet's statistics.
_MEAN = 255 * np.array((0.485, 0.456, 0.406), np.float32)
_STD = 255 * np.array((0.229, 0.224, 0.225), np.float32)


@dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """How often, and how much.

    Attributes:
        chance: That an image is changed.
        min_area: Least share of the image's area.
        max_area: Largest; the share is uniform between.
        min_aspect: Least height over width; the logarithm is uniform up to its inverse.
    """

    chance: float = 0.25
    min_area: float = 0.02
    max_area: float = 1 / 3
    min_aspect: float = 0.3

    def __post_init__(self) -> None:
        areas = 0 < self.min_area <= self.max_area < 1
        if not (0 <= self.chance <= 1 and areas and 0 < self.min_aspect <= 1):
            raise InputError(
                doing="setting up random erasing",
                found=f"a chance of {self.chance:g}, areas {self.min_area:g}–{self.max_area:g}, aspects from "
                f"{self.min_aspect:g}",
                expected="a chance of 0 to 1, 0 < min_area ≤ max_area < 1 and 0 < min_aspect ≤ 1",
                fix="Correct them, or leave them out for the usual values.",
            )


def random_erase(
    image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator, settings: RandomErasing
) -> UInt8[np.ndarray, "H W 3"]:
    """Fill a rectangle with noise; the image given is never changed, it may be returned.

    A rectangle that does not fit is drawn again, ten times at most; then the image stays.
    """
    if rng.random() >= settings.chance:
        return image
    height, width = image.shape[:2]
    reach = math.log(1 / settings.min_aspect)
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(settings.min_area, settings.max_area)
        aspect = math.exp(rng.uniform(-reach, reach))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < rows < height and 0 < columns < width:
            top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
            noise = _MEAN + _STD * rng.standard_normal((rows, columns, 3), np.float32)
            image = image.copy()
            image[top : top + rows, left : left + columns] = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
            return image
    return image
