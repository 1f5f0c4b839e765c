"""A prior for what has no shape: sky, tree, grass, … guessed from colour, texture and height alone.

ImageNet has no names for such "stuff". These rules were written by hand from what people know about
photographs taken outdoors and upright; nothing was fitted. Each gives a number in [0, 1] that says
how well a patch fits, not a probability. They know nothing of meaning: a blue wall high up is sky.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

#: What each column of ``scene_prior`` stands for.
SCENE_NAMES = ("sky", "tree", "grass", "water", "snow", "sand", "wall", "floor", "road")


def appearance(images: Float[Tensor, "B 3 H W"], patch_size: int) -> Float[Tensor, "B N 5"]:
    """Describe every patch by mean red, green and blue, spread of lightness, and height in the image.

    Args:
        images: RGB in [0, 1]; sides are multiples of ``patch_size``.
        patch_size: Side of a patch in pixels.

    Returns:
        All in [0, 1]; height is 0 at the top edge and 1 at the bottom edge.
    """
    colour = avg_pool2d(images, patch_size)
    weights = images.new_tensor([0.299, 0.587, 0.114])
    lightness = torch.einsum("b c h w, c -> b h w", images, weights)[:, None]
    square = avg_pool2d(lightness.square(), patch_size)
    spread = (square - avg_pool2d(lightness, patch_size).square()).clamp(min=0).sqrt()
    batch, _, rows, columns = colour.shape
    height = (torch.arange(rows, device=images.device, dtype=images.dtype) + 0.5) / rows
    height = repeat(height, "h -> b 1 h w", b=batch, w=columns)
    return rearrange(torch.cat([colour, spread, height], dim=1), "b c h w -> b (h w) c")


def scene_prior(look: Float[Tensor, "B N 5"]) -> Float[Tensor, "B N 9"]:
    """Return how well each patch fits each of ``SCENE_NAMES``, in [0, 1].

    Args:
        look: What ``appearance`` gives.
    """
    red, green, blue, spread, height = look.unbind(-1)
    largest, smallest = look[..., :3].amax(-1) + 1e-6, look[..., :3].amin(-1)
    total = red + green + blue + 1e-6

    greenish = _above((2 * green - red - blue) / total, 0.06, 0.03)
    bluish = _above((2 * blue - red - green) / total, 0.05, 0.04)
    warm = _above((red - blue) / total, 0.08, 0.03) * (1 - greenish)
    grey = _below((largest - smallest) / largest, 0.22, 0.05)
    bright = _above(largest, 0.72, 0.05)
    dark = _below(largest, 0.35, 0.05)
    smooth = _below(spread, 0.05, 0.012)
    top = _below(height, 0.5, 0.1)
    bottom = _above(height, 0.55, 0.1)

    fits = {
        "sky": top * smooth * torch.maximum(bluish * _above(largest, 0.35, 0.05), bright * grey),
        "tree": torch.maximum(greenish, 0.6 * dark) * (1 - smooth) * (1 - 0.5 * bottom),
        "grass": greenish * bottom,
        "water": (1 - top) * bluish * smooth.clamp(min=0.5),
        "snow": bright * grey * bottom,
        "sand": 0.7 * bright * warm * bottom * smooth,
        # Weaker than the rest: walls, floors and roads are what is left where nothing speaks.
        "wall": 0.6 * smooth * (1 - greenish) * (1 - 0.7 * bluish) * (1 - 0.6 * bottom),
        "floor": 0.5 * bottom * smooth * (1 - greenish),
        "road": 0.5 * bottom * grey * (1 - bright),
    }
    return torch.stack([fits[name] for name in SCENE_NAMES], dim=-1)


def _above(value: Float[Tensor, "B N"], threshold: float, width: float) -> Float[Tensor, "B N"]:
    return torch.sigmoid((value - threshold) / width)


def _below(value: Float[Tensor, "B N"], threshold: float, width: float) -> Float[Tensor, "B N"]:
    return torch.sigmoid((threshold - value) / width)
