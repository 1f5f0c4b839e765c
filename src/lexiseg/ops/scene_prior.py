"""A prior for what has no shape: sky, tree, grass, … guessed from colour, texture and height alone.

ImageNet has no names for such "stuff". These rules were written by hand from what people know about
photographs taken outdoors and upright; nothing was fitted. Each gives a number in [0, 1] that says
how well a patch fits, not a probability. They know nothing of meaning: a blue wall high up is sky.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lexiseg.ops.patch_places import patch_places, whole_extents

#: What each column of ``scene_prior`` stands for.
SCENE_NAMES = ("sky", "tree", "grass", "water", "snow", "sand", "wall", "floor", "road")


#: Means over an image of how much a patch is at the top and at the bottom, for those of which that is not known.
_MEAN_TOP, _MEAN_BOTTOM = 0.5, 0.45


def appearance(
    images: Float[Tensor, "B 3 H W"], patch_size: int, extents: Float[Tensor, "B 4"] | None = None
) -> Float[Tensor, "B N 5"]:
    """Describe every patch by mean red, green and blue, spread of lightness, and height in the image.

    Args:
        images: RGB in [0, 1]; sides are multiples of ``patch_size``.
        patch_size: Side of a patch in pixels.
        extents: Where each lies in a larger image (``ops.patch_places``); None for whole images.

    Returns:
        All in [0, 1]; height is 0 at the top edge and 1 at the bottom edge, NaN where it is not known.
    """
    colour = avg_pool2d(images, patch_size)
    weights = images.new_tensor([0.299, 0.587, 0.114])
    lightness = torch.einsum("b c h w, c -> b h w", images, weights)[:, None]
    square = avg_pool2d(lightness.square(), patch_size)
    spread = (square - avg_pool2d(lightness, patch_size).square()).clamp(min=0).sqrt()
    grid = (colour.shape[2], colour.shape[3])
    extents = whole_extents(len(images)) if extents is None else extents
    height, _ = patch_places(extents.to(images), grid)
    seen = rearrange(torch.cat([colour, spread], dim=1), "b c h w -> b (h w) c")
    return torch.cat([seen, height[..., None]], dim=-1)


def scene_prior(look: Float[Tensor, "B N 5"]) -> Float[Tensor, "B N 9"]:
    """Return how well each patch fits each of ``SCENE_NAMES``, in [0, 1].

    Args:
        look: What ``appearance`` gives; where the height is not known, the mean over all heights is taken.
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
    is_unknown = height.isnan()  # every rule below is linear in both, so their means give the rule's
    top = _below(height, 0.5, 0.1).masked_fill(is_unknown, _MEAN_TOP)
    bottom = _above(height, 0.55, 0.1).masked_fill(is_unknown, _MEAN_BOTTOM)

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
