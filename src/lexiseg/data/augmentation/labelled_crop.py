"""Scale jitter, random crop, flip and colour jitter of an image and its label map together, as MaskFormer trains with.

Also in SimFormer (NeurIPS 2022). The scale multiplies the short side; what a crop lacks is padded on the
right and below, with grey in the image and void in the label map. A crop that shows no class is
drawn again.

Colour jitter is SSD's (Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016): brightness, contrast,
saturation and hue are each changed with probability one half, contrast either before or after the other
two of colour.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import Range, check_ranges

#: Added to all channels.
BRIGHTNESS = 32
#: Factors of all channels, and of saturation.
CONTRAST = SATURATION = (0.5, 1.5)
#: Share of the colour circle: 18 of OpenCV's 180 steps.
HUE = 18 / 180


def jitter_colours(image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """Change the colours of an RGB image; the number of draws is always the same."""
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


def flip_horizontally(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mirror arrays ``H W …`` left to right; views, no pixel is copied."""
    return tuple(array[:, ::-1] for array in arrays)


#: A square of more pixels than this has no memory anywhere.
_SIDE = Range(least=1, most=100_000)
_RANGES = {
    "size": _SIDE,
    "min_scale": Range(least=0, most=1000, above=True),
    "max_scale": Range(least=0, most=1000, above=True),
    "scale_step": Range(least=0, most=1000, above=True),
    "base_short_side": _SIDE,
    "max_long_side": _SIDE,
    "padding_value": Range(least=0, most=255),
    "position_step": _SIDE,
    "max_attempts": Range(least=1, most=1_000_000),
}


@dataclass(frozen=True, kw_only=True)
class LabelledCropSettings:
    """How an image with a label map becomes a square.

    Attributes:
        size: Side ``S`` of the square crop in pixels.
        min_scale: Smallest short side of the resized image, as a multiple of ``base_short_side``.
        max_scale: Largest short side of the resized image, as a multiple of ``base_short_side``.
        scale_step: Step between scales from ``min_scale`` on; None draws any scale between.
        base_short_side: Short side at scale 1 in pixels; None takes ``size``.
        max_long_side: Largest long side of the resized image in pixels, before which the scale gives way; None for
            any.
        flip: Flip half of the images horizontally.
        colour_jitter: Jitter colours as SSD does.
        padding_value: Grey value of padding pixels, 0..255.
        position_step: Corners lie at multiples of this number of pixels of the resized image. With ``repeats``, a coarse
            step makes the same crops come again, so that a frozen encoder's features of them can be cached.
        max_attempts: Number of draws after which a crop without any class is accepted.
    """

    size: int
    min_scale: float = 0.5
    max_scale: float = 2.0
    scale_step: float | None = 0.1
    base_short_side: int | None = None
    max_long_side: int | None = None
    flip: bool = True
    colour_jitter: bool = True
    padding_value: int = 128
    position_step: int = 1
    max_attempts: int = 50

    @property
    def repeats(self) -> bool:
        """Whether an image gives few different squares: one scale, its own colours, corners on a coarse lattice."""
        return self.min_scale == self.max_scale and not self.colour_jitter and self.position_step > 1

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="crops with labels")
        if self.min_scale > self.max_scale:
            raise InputError(
                doing="setting up crops with labels",
                found=f"scales {self.min_scale:g}–{self.max_scale:g}",
                expected="the smaller scale first",
                fix="Check min_scale and max_scale.",
            )


class LabelledCrop(NamedTuple):
    """A square of an image with labels.

    Attributes:
        image: RGB, 0..255.
        label_map: Class indices, 65535 = void; void where the image was filled up.
        padding: True where the image was filled up.
    """

    image: UInt8[np.ndarray, "S S 3"]
    label_map: UInt16[np.ndarray, "S S"]
    padding: Bool[np.ndarray, "S S"]


class _Window(NamedTuple):
    """A part of the resized image."""

    scaled: tuple[int, int]  # of the whole image
    start: tuple[int, int]
    stop: tuple[int, int]


def crop_with_labels(
    image: UInt8[np.ndarray, "H W 3"],
    label_map: UInt16[np.ndarray, "H W"],
    settings: LabelledCropSettings,
    rng: np.random.Generator,
    *,
    valid: Bool[np.ndarray, " K"] | None = None,
) -> LabelledCrop:
    """Draw a square of an image and its label map.

    The image is resized bilinearly with antialiasing, the label map by its nearest pixels; only the
    part that is kept is resized.

    Args:
        image: RGB, 0..255.
        label_map: Class indices, 65535 = void.
        settings: How.
        rng: Random generator of this sample.
        valid: Which classes make a crop worth keeping; None means any class.
    """
    assert image.shape[:2] == label_map.shape, "image and label map differ in size"
    for _ in range(settings.max_attempts):
        window = _draw_window(image.shape[0], image.shape[1], settings, rng)
        labels = _crop_labels(label_map, window)
        if _shows_class(labels, valid):
            break
    pixels = _crop_image(image, window)
    if settings.colour_jitter:
        pixels = jitter_colours(pixels, rng)
    if settings.flip and rng.random() < 0.5:
        pixels, labels = flip_horizontally(pixels, labels)
    size = settings.size
    height, width = labels.shape
    square = np.full((size, size, 3), settings.padding_value, np.uint8)
    square_labels = np.full((size, size), IGNORE_INDEX, np.uint16)
    padding = np.ones((size, size), bool)
    square[:height, :width] = pixels
    square_labels[:height, :width] = labels
    padding[:height, :width] = False
    return LabelledCrop(square, square_labels, padding)


def _draw_window(
    height: int, width: int, settings: LabelledCropSettings, rng: np.random.Generator
) -> _Window:
    if settings.scale_step is None:
        scale = rng.uniform(settings.min_scale, settings.max_scale)
    else:
        count = int((settings.max_scale - settings.min_scale) / settings.scale_step + 1e-6) + 1
        scale = settings.min_scale + settings.scale_step * int(rng.integers(count))
    short_side = scale * (settings.base_short_side or settings.size)
    ratio = short_side / min(height, width)
    if settings.max_long_side is not None:
        ratio = min(ratio, settings.max_long_side / max(height, width))
    scaled = max(1, round(height * ratio)), max(1, round(width * ratio))
    step = settings.position_step
    start = tuple(step * int(rng.integers(max(side - settings.size, 0) // step + 1)) for side in scaled)
    stop = tuple(min(begin + settings.size, side) for begin, side in zip(start, scaled, strict=True))
    return _Window(scaled, (start[0], start[1]), (stop[0], stop[1]))


def _crop_labels(label_map: UInt16[np.ndarray, "H W"], window: _Window) -> UInt16[np.ndarray, "h w"]:
    chosen = [
        np.minimum(((np.arange(start, stop) + 0.5) * size / scaled).astype(np.int64), size - 1)
        for start, stop, scaled, size in zip(
            window.start, window.stop, window.scaled, label_map.shape, strict=True
        )
    ]
    return label_map[chosen[0][:, None], chosen[1]]


def _crop_image(image: UInt8[np.ndarray, "H W 3"], window: _Window) -> UInt8[np.ndarray, "h w 3"]:
    vertical, horizontal = (side / scaled for side, scaled in zip(image.shape, window.scaled, strict=False))
    (top, left), (bottom, right) = window.start, window.stop
    box = (left * horizontal, top * vertical, right * horizontal, bottom * vertical)
    height, width = image.shape[:2]
    box = (box[0], box[1], min(box[2], width), min(box[3], height))  # rounding may go over the edge
    photo = Image.fromarray(image)
    return np.array(photo.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box))


def _shows_class(labels: UInt16[np.ndarray, "h w"], valid: Bool[np.ndarray, " K"] | None) -> bool:
    present = labels[labels != IGNORE_INDEX]
    if valid is not None:
        present = present[present < len(valid)]
        return bool(valid[present].any())
    return present.size > 0
