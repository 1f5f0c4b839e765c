"""Random resized crop: a part of the image, of random area and aspect, resized to a square."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch.nn.functional import interpolate

from lexiseg.core.errors import InputError

_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class RandomCropSettings:
    """Which part is taken. The defaults are SimSeg's (CVPR 2023, supplementary).

    Attributes:
        min_area: Smallest area of the crop, as a share of the image's, in (0, 1].
        max_area: Largest area of the crop, as a share of the image's; uniform between the two.
        min_aspect: Smallest width over height, above 0.
        max_aspect: Largest width over height; the logarithm is uniform between the two.
    """

    min_area: float = 0.6
    max_area: float = 1.0
    min_aspect: float = 3 / 4
    max_aspect: float = 4 / 3

    def __post_init__(self) -> None:
        if not (0 < self.min_area <= self.max_area <= 1 and 0 < self.min_aspect <= self.max_aspect):
            raise InputError(
                doing="setting up random crops",
                found=f"areas {self.min_area:g}–{self.max_area:g}, aspects {self.min_aspect:g}–{self.max_aspect:g}",
                expected="0 < min_area ≤ max_area ≤ 1 and 0 < min_aspect ≤ max_aspect",
                fix="Give shares of the image and width over height, the smaller first.",
            )


def draw_crop(
    height: int, width: int, settings: RandomCropSettings, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a box ``(top, left, height, width)`` that lies in the image.

    An area and an aspect are drawn up to ten times until they fit. Where none does, as in very thin
    images, the largest box of an allowed aspect is taken from the middle.
    """
    log_low, log_high = math.log(settings.min_aspect), math.log(settings.max_aspect)
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(settings.min_area, settings.max_area)
        aspect = math.exp(rng.uniform(log_low, log_high))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return top, left, box_height, box_width
    aspect = min(max(width / height, settings.min_aspect), settings.max_aspect)
    box_width = min(width, max(1, round(height * aspect)))
    box_height = min(height, max(1, round(width / aspect)))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def resize_crop(
    image: UInt8[np.ndarray, "H W 3"], box: tuple[int, int, int, int], size: int
) -> UInt8[np.ndarray, "S S 3"]:
    """Cut a box out and resize it to ``size`` × ``size`` (bilinear, antialiased).

    PyTorch's 8-bit kernel reads the image as it lies; it is about twice as fast as Pillow's.
    """
    top, left, height, width = box
    part = torch.from_numpy(image[top : top + height, left : left + width])
    if (height, width) == (size, size):
        return np.ascontiguousarray(part.numpy())
    pixels = rearrange(part, "h w c -> 1 c h w")  # a view, which the kernel knows as channels last
    resized = interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    return np.ascontiguousarray(rearrange(resized, "1 c h w -> h w c").numpy())
