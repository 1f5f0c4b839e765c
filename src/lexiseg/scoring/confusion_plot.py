"""An image of a confusion matrix: which true class was called what."""

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.fonts import draw_text, text_length
from lexiseg.metrics.image_counts import OUTSIDE
from lexiseg.scoring.score import ProtocolScores

#: Classes beyond these, by true pixels, are left out, and the title says so.
MAX_CLASSES = 40
_CELL, _TEXT, _GAP, _NAMES, _TITLE = 26, 13, 16, 150, 60
_INK, _DEEP = (30, 30, 30), (0, 90, 160)


def confusion_matrix(result: ProtocolScores) -> Float64[np.ndarray, "K K"]:
    """Return the share of each true class's pixels (rows) that every class was called (columns), after the protocol's rules.

    Pixels called no class are in no column: a row's sum is below 1 by them. Rows of classes without pixels are zero.
    """
    counts, num_classes = result.counts, len(result.names)
    kept = (counts.true != IGNORE_INDEX) & (counts.true != OUTSIDE)
    true, predicted, pixels = (each[kept] for each in (counts.true, counts.predicted, counts.pixels))
    totals = np.bincount(true, pixels, minlength=num_classes)[:num_classes]
    inside = predicted < num_classes
    cells = true[inside].astype(np.int64) * num_classes + predicted[inside]
    matrix = np.bincount(cells, pixels[inside], minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrix / np.maximum(totals, 1)[:, None]


def draw_confusion(result: ProtocolScores) -> Image.Image:
    """Draw the matrix: rows are true classes, columns what they were called, cells in percent of the row.

    Of more than 40 classes those with most true pixels are drawn.
    """
    shares = confusion_matrix(result)
    pixels = np.asarray(result.scores.true_pixels)
    order = np.sort(np.argsort(-pixels, kind="stable")[:MAX_CLASSES])
    names = [result.names[label] for label in order]
    side = len(order) * _CELL
    width, height = max(640, _NAMES + side + 2 * _GAP), _TITLE + _NAMES + side + 2 * _GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    hidden = len(result.names) - len(order)
    left_out = f"; {hidden} classes with fewer pixels are left out" if hidden else ""
    draw_text(draw, (_GAP, _GAP // 2), result.protocol.name, fill=_INK, size=_TEXT)
    title = f"rows: true class; columns: what its pixels were called, in %{left_out}"
    draw_text(draw, (_GAP, _GAP // 2 + 20), title, fill=_INK, size=_TEXT)
    left, top = _GAP + _NAMES, _TITLE + _NAMES
    for place, name in enumerate(names):
        shown = _fit(name, _NAMES - 10)
        y = top + place * _CELL + 4
        draw_text(draw, (left - 8 - int(text_length(shown, _TEXT)), y), shown, fill=_INK, size=_TEXT)
        upright = Image.new("RGB", (_NAMES, _CELL), "white")
        draw_text(ImageDraw.Draw(upright), (4, 4), shown, fill=_INK, size=_TEXT)
        sheet.paste(upright.rotate(90, expand=True), (left + place * _CELL, top - _NAMES))
    for row, true in enumerate(order):
        for column, called in enumerate(order):
            share = float(shares[true, called])
            x, y = left + column * _CELL, top + row * _CELL
            shade = tuple(round(255 + (deep - 255) * share) for deep in _DEEP)
            draw.rectangle((x, y, x + _CELL - 2, y + _CELL - 2), fill=(shade[0], shade[1], shade[2]))
            if share >= 0.005:
                text = f"{100 * share:.0f}"
                begin = x + (_CELL - 2 - int(text_length(text, _TEXT - 2))) // 2
                fill = "white" if share > 0.5 else _INK
                draw_text(draw, (begin, y + 5), text, fill=fill, size=_TEXT - 2)
    return sheet


def _fit(text: str, room: int) -> str:
    while len(text) > 1 and text_length(text, _TEXT) > room:
        text = text.removesuffix("…")[:-1] + "…"
    return text
