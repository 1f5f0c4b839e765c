"""An image of a learning curve: points with whiskers, and levels to compare them with."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lexiseg.core.drawing import class_colours
from lexiseg.core.fonts import draw_text, text_length

_WIDTH, _HEIGHT, _TEXT = 900, 520, 15
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 30, 60, 60
_INK, _FAINT = (30, 30, 30), (225, 225, 230)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score with the ends of its interval, in [0, 1].

    Attributes:
        name: Under the axis, or beside its level.
        value: The score.
        low: Lower end.
        high: Upper end.
        is_level: Drawn as a line across, to compare the points with.
    """

    name: str
    value: float
    low: float
    high: float
    is_level: bool = False


def draw_curve(title: str, points: Sequence[Point]) -> Image.Image:
    """Draw points from left to right, and levels across; the axis is in percent and begins at 0."""
    sheet = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    top = max(0.05, *(point.high for point in points)) * 1.1

    def height(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    draw_text(draw, (_LEFT, 20), title, fill=_INK, size=_TEXT)
    step = next(each for each in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if top / each <= 8)
    for number in range(int(top / step) + 1):
        y = height(number * step)
        draw.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=_FAINT)
        draw_text(draw, (20, int(y) - 9), f"{100 * number * step:.0f} %", fill=_INK, size=_TEXT)
    levels = [point for point in points if point.is_level]
    curve = [point for point in points if not point.is_level]
    colours = [(int(each[0]), int(each[1]), int(each[2])) for each in class_colours(len(levels) + 2)[1:]]
    for point, colour in zip(levels, colours, strict=False):
        y = height(point.value)
        draw.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=colour, width=2)
    left = _LEFT + 8.0
    for point, colour in zip(levels, colours, strict=False):  # side by side: levels may lie together
        text = f"{point.name} {100 * point.value:.1f}"
        draw_text(draw, (int(left), int(height(point.value)) - 20), text, fill=colour, size=_TEXT)
        left += text_length(text, _TEXT) + 16
    room = (_WIDTH - _LEFT - _RIGHT) / (len(curve) + 1)
    places = [(_LEFT + room * (place + 1), height(point.value)) for place, point in enumerate(curve)]
    if len(places) > 1:
        draw.line(places, fill=_INK, width=2)
    for (x, y), point in zip(places, curve, strict=True):
        draw.line((x, height(point.low), x, height(point.high)), fill=_INK, width=2)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=_INK)
        draw_text(draw, (int(x) + 9, int(y) - 26), f"{100 * point.value:.1f}", fill=_INK, size=_TEXT)
        begin = int(x - text_length(point.name, _TEXT) / 2)
        draw_text(draw, (begin, _HEIGHT - _BOTTOM + 14), point.name, fill=_INK, size=_TEXT)
    return sheet
