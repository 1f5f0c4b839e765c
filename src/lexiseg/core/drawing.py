"""Colours for classes, and a label map laid over its image."""

import base64
import colorsys
import io
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import Image, ImageDraw, ImageFont

from lexiseg.core.fonts import Font, draw_runs, romanised, text_runs
from lexiseg.core.region_names import write_names

VOID_COLOUR = (128, 128, 128)
_PROBE_SIZE = 24

#: Label of a legend entry for what is hatched.
UNKNOWN = -1
#: Pixels from one stripe to the next, and across a stripe.
_HATCH, _STRIPE = 10, 3


# Orange and blue; then from a grid of sRGB, the first not dark, each the furthest from those before it, from white borders
# and grey void: by the least ΔE2000 in four views, as it is, and to people without red, green or blue cones. A test measures.
_FIRST_COLOURS = (
    (255, 136, 0), (34, 119, 238), (0, 102, 85), (0, 204, 255), (153, 51, 0), (170, 204, 153),
    (136, 68, 136), (153, 136, 102), (255, 238, 0), (51, 17, 255), (221, 170, 187), (102, 17, 85),
    (204, 85, 0), (170, 102, 153), (51, 0, 170), (170, 255, 153), (119, 0, 0), (0, 68, 51),
)  # fmt: skip


def class_colours(num_classes: int) -> UInt8[np.ndarray, "K 3"]:
    """Return ``num_classes`` RGB colours; a class keeps its colour whatever the number.

    The first 18 can be told apart by colour-blind people too. After them, hues step by the golden angle and lightness
    and saturation alternate, so that neighbours in the list still differ.
    """
    colours = np.empty((num_classes, 3), np.uint8)
    for label in range(num_classes):
        if label < len(_FIRST_COLOURS):
            colours[label] = _FIRST_COLOURS[label]
            continue
        hue = label * 0.61803398875 % 1.0
        saturation, value = (0.85, 0.60, 0.95)[label % 3], (0.95, 0.80, 0.65, 1.0)[label // 2 % 4]
        colours[label] = [round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value)]
    return colours


def colour_map(label_map: UInt16[np.ndarray, "H W"], num_classes: int) -> UInt8[np.ndarray, "H W 3"]:
    """Paint each label in its class's colour; labels beyond ``num_classes`` (void) in grey."""
    table = np.vstack([class_colours(num_classes), np.array([VOID_COLOUR], np.uint8)])
    return table[np.minimum(label_map, num_classes)]


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"],
    label_map: UInt16[np.ndarray, "H W"],
    num_classes: int,
    entries: Sequence[tuple[int, str]],
    *,
    opacity: float,
    hatched: Bool[np.ndarray, "H W"] | None = None,
    names: Sequence[tuple[int, str]] = (),
) -> Image.Image:
    """Lay the label map over its image, with white borders between labels, names on regions and a legend below.

    Args:
        image: RGB, 0..255.
        label_map: Class index per pixel; 65535 = void.
        num_classes: Size of the vocabulary, which fixes the colours.
        entries: ``(label, text)`` of the legend in order; empty for no legend.
        opacity: Weight of the colour, in [0, 1].
        hatched: Pixels to lay dark and light stripes over.
        names: Label and name of what is written on its largest region, where it fits.
    """
    colours = colour_map(label_map, num_classes)
    blended = image + (colours.astype(np.int16) - image) * np.float32(opacity)
    photo = blended.astype(np.uint8)
    if hatched is not None and hatched.any():
        _hatch(photo, hatched)
    photo[_borders(label_map)] = 255
    drawn = (
        Image.fromarray(photo) if not entries else _with_legend(photo, entries, class_colours(num_classes))
    )
    if names:
        write_names(drawn, label_map, names, _text_size(photo))
    return drawn


def _hatch(image: UInt8[np.ndarray, "H W 3"], where: Bool[np.ndarray, "H W"]) -> None:
    """Draw diagonal stripes, half dark and half light, so that they show on every colour."""
    rows, columns = np.ogrid[: where.shape[0], : where.shape[1]]
    phase = (rows + columns) % _HATCH
    image[where & (phase < _STRIPE)] = 40
    image[where & (phase >= _STRIPE) & (phase < 2 * _STRIPE)] = 230


def _borders(label_map: UInt16[np.ndarray, "H W"]) -> np.ndarray:
    borders = np.zeros(label_map.shape, bool)
    borders[:, 1:] = label_map[:, 1:] != label_map[:, :-1]
    borders[1:] |= label_map[1:] != label_map[:-1]
    return borders


def region_thumbnail(image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], side: int) -> str:
    """Return a small JPEG in base64 of an image that is pale outside a region.

    Args:
        image: RGB, 0..255.
        mask: The region.
        side: Largest side of the JPEG in pixels.
    """
    pixels = image.copy()
    pixels[~mask] = 192 + pixels[~mask] // 4
    small = Image.fromarray(np.ascontiguousarray(pixels))
    small.thumbnail((side, side))
    held = io.BytesIO()
    small.save(held, format="JPEG", quality=80)
    return base64.b64encode(held.getvalue()).decode()


def _with_legend(
    image: UInt8[np.ndarray, "H W 3"], entries: Sequence[tuple[int, str]], colours: UInt8[np.ndarray, "K 3"]
) -> Image.Image:
    height, width = image.shape[:2]
    text_size = _text_size(image)
    gap, swatch = text_size // 2, text_size
    rows, x = [[]], gap  # type: list[list[tuple[int, int, list[tuple[Font, str]]]]], int
    for label, text in entries:
        runs = _shortened(_drawable(label, text), text_size, max(text_size * 4, width - swatch - 3 * gap))
        advance = swatch + gap // 2 + int(_length(runs)) + 2 * gap
        if rows[-1] and x + advance > width:
            rows.append([])
            x = gap
        rows[-1].append((x, label, runs))
        x += advance
    line = text_size + gap
    sheet = Image.new("RGB", (width, height + line * len(rows) + gap), "white")
    sheet.paste(Image.fromarray(image), (0, 0))
    draw = ImageDraw.Draw(sheet)
    for row, cells in enumerate(rows):
        top = height + gap + row * line
        for left, label, runs in cells:
            known = 0 <= label < len(colours)
            colour = tuple(int(c) for c in colours[label]) if known else VOID_COLOUR
            draw.rectangle((left, top, left + swatch, top + swatch - 1), fill=colour)
            if label == UNKNOWN:
                stripes = np.full((swatch, swatch + 1, 3), VOID_COLOUR, np.uint8)
                _hatch(stripes, np.ones(stripes.shape[:2], bool))
                sheet.paste(Image.fromarray(stripes), (left, top))
            corner = left + swatch + gap // 2, top - text_size // 8
            draw_runs(draw, corner, runs, size=text_size, fill="black")
    return sheet


def _text_size(image: UInt8[np.ndarray, "H W 3"]) -> int:
    return max(11, min(image.shape[:2]) // 26)


def _length(runs: Sequence[tuple[Font, str]]) -> float:
    return sum(font.getlength(piece) for font, piece in runs)


def _drawable(label: int, text: str) -> str:
    """Return a text, or where no font has its letters the class's number with what ASCII has of them."""
    if text_runs(text, _PROBE_SIZE) is not None:
        return text
    name, space, share = text.rpartition("  ")
    _warn_of_missing_fonts()
    return f"{label} {romanised(name)}".strip() + space + share


@cache
def _warn_of_missing_fonts() -> None:
    """Say it once a process."""
    warnings.warn(
        "the legend has no font for some class names and shows the classes' numbers instead:"
        " pip install 'lexiseg[fonts]', or install Noto fonts in the system",
        stacklevel=4,
    )


def _shortened(text: str, size: int, room: int) -> list[tuple[Font, str]]:
    runs = _runs(text, size)
    if _length(runs) <= room:
        return runs
    name, space, share = text.rpartition("  ")
    while len(name) > 1 and _length(runs := _runs(f"{name}…{space}{share}", size)) > room:
        name = name[:-1]
    return runs


def _runs(text: str, size: int) -> list[tuple[Font, str]]:
    """Divide a legend text by fonts; its share is a piece of its own, or names from right to left would turn it."""
    if text.isascii():
        return text_runs(text, size) or []
    name, space, share = text.rpartition("  ")
    runs = text_runs(name, size) if space else None
    if runs is not None:
        return [*runs, *(text_runs(space + share, size) or [])]
    return text_runs(text, size) or [(ImageFont.load_default(size=size), text.replace("…", "..."))]
