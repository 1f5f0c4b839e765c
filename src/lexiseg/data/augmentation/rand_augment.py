"""RandAugment: a few operations on an image, drawn at random, all of about the same strength.

Cubuk, Zoph, Shlens, Le: "RandAugment: Practical automated data augmentation with a reduced search space" (2020).

Readings where the paper leaves a choice, as image-text models are trained with: an operation drawn is used with
probability 0.5; the magnitude is normal around its mean and cut to 0..10; "increasing" means that a larger
magnitude is a stronger change for every operation. Strengths at magnitude 10 are those at AutoAugment's
highest (``auto_augment``): rotation by 30 degrees, shears of 0.3, translation by 0.45 of the side, colours
by a factor of 1 ± 0.9, posterising to 4 bits, solarising from 0; adding up to 110 to dark pixels is one more.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.augmentation.auto_augment import OPERATIONS

_HIGHEST = 10
_DARK = 128


_RANGES = {
    "chance": Range(least=0, most=1),
}


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """How much is changed. The defaults are GroupViT's (CVPR 2022).

    Attributes:
        num_operations: Drawn for an image, with replacement.
        magnitude: Mean strength, 0 to 10.
        deviation: Standard deviation of the strength.
        chance: That an operation drawn is used.
    """

    num_operations: int = 2
    magnitude: float = 9.0
    deviation: float = 0.5
    chance: float = 0.5

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="RandAugment")
        fits = self.num_operations >= 0 and 0 <= self.magnitude <= _HIGHEST
        if not (fits and self.deviation >= 0 and 0 <= self.chance <= 1):
            raise InputError(
                doing="setting up RandAugment",
                found=f"{self.num_operations} operations of magnitude {self.magnitude:g} ± {self.deviation:g}, "
                f"used with probability {self.chance:g}",
                expected=f"0 or more operations, a magnitude of 0 to {_HIGHEST}, a deviation of 0 or more, and a "
                "probability of 0 to 1",
                fix="Correct them, or leave them out for GroupViT's values.",
            )


def rand_augment(image: Image.Image, rng: np.random.Generator, settings: RandAugment) -> Image.Image:
    """Change an RGB image; the size stays.

    The number of draws is always the same. The image given is never changed; it may be returned.
    """
    count = settings.num_operations
    which = rng.integers(len(NAMES), size=count)
    used = rng.random(count) < settings.chance
    strengths = np.clip(rng.normal(settings.magnitude, settings.deviation, count), 0, _HIGHEST) / _HIGHEST
    signs = np.where(rng.random(count) < 0.5, -1, 1)
    for index in np.flatnonzero(used):
        strength = float(signs[index] * strengths[index])
        name = NAMES[which[index]]
        image = _add_to_dark(image, strength) if name == "solarize_add" else OPERATIONS[name](image, strength)
    return image


def _add_to_dark(image: Image.Image, strength: float) -> Image.Image:
    added = round(110 * abs(strength))
    table = [min(255, value + added) if value < _DARK else value for value in range(256)]
    return image.point(table * 3)


#: Operations that are drawn from, all equally likely.
NAMES = (*OPERATIONS, "solarize_add")
