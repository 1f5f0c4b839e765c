"""Resize images for an encoder."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate


def fitted_size(
    size: tuple[int, int], *, short_side: int, max_long_side: int, multiple_of: int, squash: bool = False
) -> tuple[int, int]:
    """Return the size ``(height, width)`` an image of ``size`` is resized to.

    The short side becomes ``short_side`` unless that takes the long side over ``max_long_side``;
    then the long side becomes that. With ``squash`` both sides become the smaller of the two. Both are
    rounded to the nearest multiple, at least one.
    """
    if squash:
        size = (1, 1)
    scale = min(short_side / min(size), max_long_side / max(size))
    height, width = (max(1, round(side * scale / multiple_of)) * multiple_of for side in size)
    return height, width


def resize_image(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """Resize an RGB image of 0..255 to ``size`` and scale it to [0, 1] (bilinear, antialiased)."""
    pixels = rearrange(torch.from_numpy(image), "h w c -> 1 c h w")
    if size != image.shape[:2]:
        pixels = interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return pixels[0].float().div_(255)
