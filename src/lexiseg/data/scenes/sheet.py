"""A sheet of scenes to look at: picture and labels side by side, with class names and captions."""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lexiseg.core.drawing import class_colours, colour_map
from lexiseg.core.sample import Sample
from lexiseg.core.vocabulary import Vocabulary

_SIDE, _GAP, _TEXT = 192, 12, 13
_LINE = _TEXT + 5


def draw_sheet(samples: Sequence[Sample], vocabulary: Vocabulary, *, columns: int = 3) -> Image.Image:
    """Draw samples with label maps in a grid.

    Args:
        samples: Scenes, all square.
        vocabulary: Their classes.
        columns: Scenes in one row.
    """
    columns = min(columns, len(samples))
    cells = [_draw_cell(sample, vocabulary) for sample in samples]
    width = max(cell.width for cell in cells)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (columns * (width + 2 * _GAP), sum(heights) + (len(rows) + 1) * _GAP)
    sheet = Image.new("RGB", size, "white")
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (_GAP + column * (width + 2 * _GAP), top))
        top += height + _GAP
    return sheet


def _draw_cell(sample: Sample, vocabulary: Vocabulary) -> Image.Image:
    assert sample.label_map is not None
    font = ImageFont.load_default(size=_TEXT)
    colours = class_colours(len(vocabulary))
    width = 2 * _SIDE + 4
    legend = _legend_lines(np.unique(sample.label_map).tolist(), vocabulary, font, width)
    texts = [line for text in sample.captions for line in textwrap.wrap(f"“{text}”", 58)]
    cell = Image.new("RGB", (width, _SIDE + 8 + _LINE * (len(legend) + len(texts))), "white")
    labels = colour_map(sample.label_map, len(vocabulary))
    for left, pixels in ((0, sample.image), (_SIDE + 4, labels)):
        cell.paste(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, 0))
    draw = ImageDraw.Draw(cell)
    top = _SIDE + 6
    for entries in legend:
        left = 0
        for label, name, advance in entries:
            box = (left, top + 2, left + _TEXT, top + 2 + _TEXT)
            draw.rectangle(box, fill=tuple(int(part) for part in colours[label]))
            draw.text((left + _TEXT + 4, top), name, fill="black", font=font)
            left += advance
        top += _LINE
    for text in texts:
        draw.text((0, top), text, fill=(90, 90, 90), font=font)
        top += _LINE
    return cell


def _legend_lines(
    labels: Sequence[int],
    vocabulary: Vocabulary,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> list[list[tuple[int, str, int]]]:
    lines: list[list[tuple[int, str, int]]] = [[]]
    used = 0
    for label in labels:
        if label >= len(vocabulary):
            continue
        is_unseen = vocabulary.seen is not None and label not in vocabulary.seen
        name = vocabulary.names[label] + (" (unseen)" if is_unseen else "")
        advance = _TEXT + 18 + int(font.getlength(name))
        if lines[-1] and used + advance > width:
            lines.append([])
            used = 0
        lines[-1].append((label, name, advance))
        used += advance
    return lines
