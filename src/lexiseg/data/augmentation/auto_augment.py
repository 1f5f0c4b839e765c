"""AutoAugment with the policy that was learned on ImageNet.

Cubuk, Zoph, Mané, Vasudevan, Le: "AutoAugment: Learning Augmentation Policies from Data" (CVPR 2019).
A policy is 25 pairs of operations; an image gets one pair, each operation with its own probability
and with a magnitude of 0 to 9, which is a place on the operation's range (table of operations in the
paper's appendix).

Readings where the paper leaves a choice: the sign of geometric operations is a coin's; colour
operations move away from 1 by 0.9 × magnitude / 9, up or down by a coin; posterize keeps 8 bits at
magnitude 0 and 4 at 9; the solarize threshold falls from 256 to 0; translations are shares of the
side (150 of the 331 pixels that the policy was learned at); uncovered pixels become grey 128.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

#: Operation, probability, magnitude: twice.
SubPolicy = tuple[tuple[str, float, int], tuple[str, float, int]]

IMAGENET_POLICY: tuple[SubPolicy, ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("colour", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
_MAX_MAGNITUDE = 9
_GREY = (128, 128, 128)
_AFFINE, _BILINEAR = Image.Transform.AFFINE, Image.Resampling.BILINEAR


def auto_augment(
    image: Image.Image, rng: np.random.Generator, policy: tuple[SubPolicy, ...] = IMAGENET_POLICY
) -> Image.Image:
    """Apply one pair of the policy to an RGB image; the size stays.

    The number of draws is always the same. The image given is never changed; it may be returned.
    """
    pair = policy[int(rng.integers(len(policy)))]
    chances, signs = rng.random(2), np.where(rng.random(2) < 0.5, -1, 1)
    for (name, probability, magnitude), chance, sign in zip(pair, chances, signs, strict=True):
        if chance < probability:
            image = OPERATIONS[name](image, int(sign) * magnitude / _MAX_MAGNITUDE)
    return image


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, _AFFINE, matrix, _BILINEAR, fillcolor=_GREY)


def _shear_x(image: Image.Image, strength: float) -> Image.Image:
    slope = 0.3 * strength
    return _affine(image, (1.0, slope, -slope * image.height / 2, 0.0, 1.0, 0.0))  # about the middle


def _shear_y(image: Image.Image, strength: float) -> Image.Image:
    slope = 0.3 * strength
    return _affine(image, (1.0, 0.0, 0.0, slope, 1.0, -slope * image.width / 2))


def _translate_x(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1.0, 0.0, 150 / 331 * strength * image.width, 0.0, 1.0, 0.0))


def _translate_y(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1.0, 0.0, 0.0, 0.0, 1.0, 150 / 331 * strength * image.height))


def _rotate(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(30 * strength, _BILINEAR, fillcolor=_GREY)


def _posterize(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(4 * abs(strength)))


def _solarize(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.solarize(image, round(256 * (1 - abs(strength))))


def _enhance(
    kind: Callable[[Image.Image], ImageEnhance._Enhance], image: Image.Image, strength: float
) -> Image.Image:
    return kind(image).enhance(1 + 0.9 * strength)


#: From an image and a signed share of the range, -1..1, to an image.
OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "autocontrast": lambda image, strength: ImageOps.autocontrast(image),
    "invert": lambda image, strength: ImageOps.invert(image),
    "equalize": lambda image, strength: ImageOps.equalize(image),
    "solarize": _solarize,
    "posterize": _posterize,
    "contrast": lambda image, strength: _enhance(ImageEnhance.Contrast, image, strength),
    "colour": lambda image, strength: _enhance(ImageEnhance.Color, image, strength),
    "brightness": lambda image, strength: _enhance(ImageEnhance.Brightness, image, strength),
    "sharpness": lambda image, strength: _enhance(ImageEnhance.Sharpness, image, strength),
}
