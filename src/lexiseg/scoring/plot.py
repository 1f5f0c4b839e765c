"""An image of one score: IoU of the classes as bars, and the pairs that cost most pixels."""

import math

from PIL import Image, ImageDraw

from lexiseg.core.drawing import class_colours
from lexiseg.core.fonts import draw_text, text_length
from lexiseg.scoring.report import worst_confusions
from lexiseg.scoring.score import ProtocolScores
from lexiseg.scoring.tables import percent

MAX_BARS = 30
_TEXT, _LINE, _GAP = 15, 24, 24
_NAMES, _BARS, _NUMBERS = 180, 360, 60
_INK, _FAINT, _WHISKER = (30, 30, 30), (225, 225, 230), (60, 60, 60)


def draw_scores(result: ProtocolScores) -> Image.Image:
    """Draw bars with 95 % whiskers, best first, and the worst confusions beside them.

    Of more than 30 classes the 15 best and the 15 worst are drawn.
    """
    order = [label for label, iou in enumerate(result.scores.iou) if not math.isnan(iou)]
    order.sort(key=lambda label: -result.scores.iou[label])
    hidden = max(0, len(order) - MAX_BARS)
    if hidden:
        order = order[: MAX_BARS // 2] + order[-(MAX_BARS // 2) :]
    pairs = worst_confusions(result)
    lines = max(len(order) + (1 if hidden else 0), len(pairs)) + 3
    left_width = _NAMES + _BARS + _NUMBERS
    width = _GAP + left_width + 2 * _GAP + _NAMES * 2 + 40 + _BARS // 2 + _NUMBERS + _GAP
    sheet = Image.new("RGB", (width, lines * _LINE + 2 * _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    low, high = float(result.intervals.low[0]), float(result.intervals.high[0])
    title = (
        f"{result.protocol.name}:  {percent(result.headline)} % {result.metric.title} of {result.num_averaged} classes,"
        f"  95 % over {result.num_images:,} images: {percent(low)} to {percent(high)}"
    )
    draw_text(draw, (_GAP, _GAP // 2), _fit(title, width - 2 * _GAP), fill=_INK, size=_TEXT)
    top = _GAP + _LINE
    draw_text(draw, (_GAP, top), "IoU of classes, %", fill=_INK, size=_TEXT)
    right = _GAP + left_width + 2 * _GAP
    draw_text(
        draw,
        (right, top),
        "classes that were called something else: share of their pixels, %",
        fill=_INK,
        size=_TEXT,
    )
    top += _LINE + 4
    colours = class_colours(len(result.names))
    for line, label in enumerate(order):
        y = top + (line + (1 if hidden and line >= MAX_BARS // 2 else 0)) * _LINE
        ends = float(result.class_intervals.low[label]), float(result.class_intervals.high[label])
        colour = (int(colours[label][0]), int(colours[label][1]), int(colours[label][2]))
        _bar(draw, (_GAP, y), result.names[label], float(result.scores.iou[label]), ends, colour)
    if hidden:
        y = top + MAX_BARS // 2 * _LINE
        draw_text(draw, (_GAP + _NAMES, y), f"… {hidden} more classes …", fill=_WHISKER, size=_TEXT)
    for line, (true, called, _, share) in enumerate(pairs):
        y = top + line * _LINE
        draw_text(draw, (right, y), _fit(true, _NAMES - 8), fill=_INK, size=_TEXT)
        draw_text(draw, (right + _NAMES, y), _fit(f"as {called}", _NAMES + 32), fill=_INK, size=_TEXT)
        x = right + 2 * _NAMES + 40
        draw.rectangle((x, y + 2, x + _BARS // 2, y + _LINE - 5), fill=_FAINT)
        draw.rectangle((x, y + 2, x + round(share * _BARS / 2), y + _LINE - 5), fill=(200, 60, 60))
        draw_text(draw, (x + _BARS // 2 + 8, y), f"{100 * share:.1f}", fill=_INK, size=_TEXT)
    return sheet


def _bar(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    name: str,
    value: float,
    ends: tuple[float, float],
    colour: tuple[int, int, int],
) -> None:
    """Draw name, bar, whisker and number of one class."""
    x, y = corner
    draw_text(draw, (x, y), _fit(name, _NAMES - 8), fill=_INK, size=_TEXT)
    x += _NAMES
    draw.rectangle((x, y + 2, x + _BARS, y + _LINE - 5), fill=_FAINT)
    draw.rectangle((x, y + 2, x + round(value * _BARS), y + _LINE - 5), fill=colour)
    if not math.isnan(ends[0]):
        middle = y + _LINE // 2 - 2
        start, stop = (x + round(end * _BARS) for end in ends)
        draw.line((start, middle, stop, middle), fill=_WHISKER, width=2)
        for end in (start, stop):
            draw.line((end, middle - 4, end, middle + 4), fill=_WHISKER, width=2)
    draw_text(draw, (x + _BARS + 8, y), f"{100 * value:.1f}", fill=_INK, size=_TEXT)


def _fit(text: str, room: int) -> str:
    """Shorten a text to the room it has."""
    if text_length(text, _TEXT) <= room:
        return text
    while len(text) > 1 and text_length(text + "…", _TEXT) > room:
        text = text[:-1]
    return text + "…"
