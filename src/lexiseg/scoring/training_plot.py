"""An image of a training: its losses over the steps, and what evaluations found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from lexiseg.core.drawing import class_colours
from lexiseg.core.fonts import draw_text, text_length

_WIDTH, _PANEL, _TEXT, _GAP = 900, 300, 14, 16
_LEFT, _INK, _FAINT = 80, (30, 30, 30), (225, 225, 230)
#: Lines of a panel; more could not be told apart.
MAX_LINES = 10

#: Steps and values.
Series = Mapping[str, Sequence[tuple[int, float]]]


def series_of_log(lines: Sequence[Mapping[str, Any]]) -> tuple[Series, Series]:
    """Return the losses, and the scores of evaluations that are shares, over the steps of a log's lines."""
    losses: dict[str, list[tuple[int, float]]] = {}
    scores: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        step = int(line["step"])
        terms = line.get("terms") or {}
        named = {"loss": line.get("loss"), **(terms if len(terms) > 1 else {})}
        evaluation = line.get("evaluation") or {}
        for into, found in ((losses, named), (scores, evaluation)):
            for name, value in found.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    into.setdefault(name, []).append((step, float(value)))
    shares = {name: points for name, points in scores.items() if all(0 <= value <= 1 for _, value in points)}
    return losses, shares


def draw_training(title: str, losses: Series, scores: Series) -> Image.Image:
    """Draw losses above (from the least to the largest), evaluations below in percent; of each at most ten lines."""
    panels = [(losses, "loss", ""), *([(scores, "evaluation", " %")] if scores else [])]
    sheet = Image.new("RGB", (_WIDTH, 40 + len(panels) * (_PANEL + 40)), "white")
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, (_GAP, 10), title, fill=_INK, size=_TEXT)
    for place, (series, name, unit) in enumerate(panels):
        shown = dict(list(series.items())[:MAX_LINES])
        left_out = f" ({len(series) - len(shown)} more are not drawn)" if len(series) > len(shown) else ""
        _panel(draw, 40 + place * (_PANEL + 40), name + left_out, shown, unit)
    return sheet


def _panel(draw: ImageDraw.ImageDraw, top: int, name: str, series: Series, unit: str) -> None:
    points = [point for line in series.values() for point in line]
    if not points:
        draw_text(draw, (_LEFT, top), f"{name}: nothing was logged", fill=_INK, size=_TEXT)
        return
    factor = 100 if unit else 1
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    low, high = min(0.0, *(value for _, value in points)), max(value for _, value in points)
    high = high if high > low else low + 1
    bottom, right = top + _PANEL - 30, _WIDTH - 190

    def place(step: int, value: float) -> tuple[float, float]:
        across = (step - first) / max(1, last - first)
        return _LEFT + across * (right - _LEFT), bottom - (value - low) / (high - low) * (bottom - top - 24)

    draw_text(draw, (_LEFT, top), name, fill=_INK, size=_TEXT)
    for number in range(5):
        value = low + (high - low) * number / 4
        y = place(first, value)[1]
        draw.line((_LEFT, y, right, y), fill=_FAINT)
        text = f"{factor * value:.3g}{unit}"
        draw_text(draw, (_LEFT - 8 - int(text_length(text, _TEXT)), int(y) - 9), text, fill=_INK, size=_TEXT)
    for step in dict.fromkeys((first, last)):
        draw_text(draw, (int(place(step, low)[0]) - 10, bottom + 6), f"{step:,}", fill=_INK, size=_TEXT)
    draw_text(draw, ((_LEFT + right) // 2, bottom + 6), "step", fill=_INK, size=_TEXT)
    colours = class_colours(len(series) + 1)[1:]
    for line, ((label, values), colour) in enumerate(zip(series.items(), colours, strict=True)):
        fill = (int(colour[0]), int(colour[1]), int(colour[2]))
        places = [place(step, value) for step, value in values]
        if len(places) > 1:
            draw.line(places, fill=fill, width=2)
        else:
            x, y = places[0]
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=fill)
        y = top + 24 + line * 22
        draw.line((right + 12, y + 9, right + 30, y + 9), fill=fill, width=3)
        shown = label if len(label) <= 18 else label[:17] + "…"
        draw_text(draw, (right + 36, y), shown, fill=_INK, size=_TEXT)
