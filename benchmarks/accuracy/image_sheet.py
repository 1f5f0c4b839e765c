"""Sheets of small images with words around them, for the pages of this folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from lexiseg.core.drawing import VOID_COLOUR, class_colours

TEXT = 14
LINE = TEXT + 5
MARGIN = 14
INK, FAINT, PALE = (25, 25, 25), (110, 110, 110), (228, 228, 228)

#: From low to high: black over violet and orange to yellow; white stays free for outlines.
_HEAT = np.array([(8, 6, 30), (70, 15, 105), (150, 40, 100), (220, 80, 55), (250, 150, 15), (245, 225, 90)])


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One small image of a sheet.

    Attributes:
        pixels: RGB, 0..255, at the size it is shown.
        above: Short text over it.
        below: Short text under it.
        gap: Pixels left free before it.
    """

    pixels: np.ndarray
    above: str = ""
    below: str = ""
    gap: int = 6


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of the legend: a small square and what it means."""

    text: str
    colour: tuple[int, int, int]
    striped: bool = False


def enlarged(values: np.ndarray, side: int) -> np.ndarray:
    """Repeat pixels of a square map or image until it has ``side`` rows."""
    times = side // values.shape[0]
    return values.repeat(times, 0).repeat(times, 1)


def heat(values: np.ndarray) -> np.ndarray:
    """Colour values from 0 to 1."""
    places = np.clip(values, 0, 1) * (len(_HEAT) - 1)
    channels = [np.interp(places, np.arange(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def outlined(
    pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int = 2
) -> np.ndarray:
    """Draw the inner border of a mask of the same size."""
    drawn = pixels.copy()
    drawn[mask & ~binary_erosion(mask, np.ones((3, 3)), width, border_value=0)] = colour
    return drawn


def striped(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lay thin white diagonal stripes over a mask of the same size."""
    rows, columns = np.indices(mask.shape)
    drawn = pixels.copy()
    drawn[mask & ((rows + columns) % 12 < 3)] = 255
    return drawn


def painted(label_map: np.ndarray, num_classes: int, background: int | None = None) -> np.ndarray:
    """Paint labels in their classes' colours, background pale and void grey."""
    colours = class_colours(num_classes)
    if background is not None:
        colours[background] = PALE
    table = np.vstack([colours, np.array([VOID_COLOUR], np.uint8)])
    return table[np.minimum(label_map, num_classes)]


def draw_sheet(
    rows: Sequence[Sequence[Tile]], *, legend: Sequence[Entry] = (), notes: Sequence[str] = ()
) -> Image.Image:
    """Lay rows of tiles out, a legend and notes below them."""
    font = ImageFont.load_default(size=TEXT)
    width = max(2 * MARGIN + sum(t.pixels.shape[1] + t.gap for t in row) - row[0].gap for row in rows)
    lines = _legend_lines(legend, font, width - 2 * MARGIN)
    sheet = Image.new("RGB", (width, 10_000), "white")
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row in rows:
        left = MARGIN - row[0].gap
        below = top + LINE * any(tile.above for tile in row)
        foot = below + max(tile.pixels.shape[0] for tile in row) + 2
        for tile in row:
            left += tile.gap
            draw.text((left, top), tile.above, fill=INK, font=font)
            sheet.paste(Image.fromarray(tile.pixels), (left, below))
            draw.text((left, foot), tile.below, fill=FAINT, font=font)
            left += tile.pixels.shape[1]
        top = foot + LINE * any(tile.below for tile in row) + 8
    top += 4 * bool(lines)
    for line in lines:
        left = MARGIN
        for entry, advance in line:
            square = np.full((TEXT, TEXT, 3), entry.colour, np.uint8)
            if entry.striped:
                square = striped(square, np.ones((TEXT, TEXT), bool))
            sheet.paste(Image.fromarray(square), (left, top + 2))
            draw.text((left + TEXT + 5, top), entry.text, fill=INK, font=font)
            left += advance
        top += LINE + 2
    top += 4 * bool(notes)
    for note in notes:
        draw.text((MARGIN, top), note, fill=FAINT, font=font)
        top += LINE
    return sheet.crop((0, 0, width, top + MARGIN))


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a PNG and say how large it became."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    print(f"{path}: {sheet.width} x {sheet.height} pixels, {path.stat().st_size / 1000:.0f} kB")


def _legend_lines(
    legend: Sequence[Entry], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int
) -> list[list[tuple[Entry, int]]]:
    lines: list[list[tuple[Entry, int]]] = []
    used = room
    for entry in legend:
        advance = TEXT + 5 + int(font.getlength(entry.text)) + 18
        if used + advance > room + 18:
            lines.append([])
            used = 0
        lines[-1].append((entry, advance))
        used += advance
    return lines
