"""Colour jitter as SSD trains with (Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016).

Brightness, contrast, saturation and hue are each changed with probability one half, contrast either
before or after the other two of colour.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

#: Added to all channels.
BRIGHTNESS = 32
#: Factors of all channels, and of saturation.
CONTRAST = SATURATION = (0.5, 1.5)
#: Share of the colour circle: 18 of OpenCV's 180 steps.
HUE = 18 / 180


def jitter_colours(image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """Change the colours of an RGB picture; the number of draws is always the same."""
    use = rng.random(5) < 0.5
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    contrast, saturation = rng.uniform(*CONTRAST), rng.uniform(*SATURATION)
    hue = rng.uniform(-HUE, HUE)
    steps = np.arange(256.0)
    if use[0]:
        image = _rounded(steps + brightness)[image]
    contrast_table = _rounded(steps * contrast)
    if use[1] and use[4]:
        image = contrast_table[image]
    if use[2] or use[3]:
        tables = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
        if use[3]:
            tables[0] = (np.arange(256) + round(hue * 256)) % 256  # the circle has no end
        if use[2]:
            tables[1] = _rounded(steps * saturation)
        turned = Image.fromarray(image).convert("HSV").point(tables.ravel().tolist())
        image = np.array(turned.convert("RGB"))
    if use[1] and not use[4]:
        image = contrast_table[image]
    return image


def _rounded(values: np.ndarray) -> UInt8[np.ndarray, "256"]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
