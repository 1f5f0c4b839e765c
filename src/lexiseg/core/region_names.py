"""Names written on the regions of a label map, where they fit."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image, ImageDraw

from lexiseg.core.fonts import Font, draw_runs, text_runs

#: Regions are looked at in about this many steps of the shorter side: names need no more.
_STEPS = 160
#: A name may be so many times longer than the circle that it is written in: letters are low.
_MOST_OVERHANG = 1.25
#: Points whose distance is this part of the largest are as good.
_DEEP = 0.9
_HALO = 2


def write_names(
    image: Image.Image, label_map: UInt16[np.ndarray, "H W"], names: Sequence[tuple[int, str]], text_size: int
) -> None:
    """Write the name of each class into its largest region, at the point furthest from its border.

    Args:
        image: Drawn on; its upper left part shows the label map pixel by pixel.
        label_map: Class index per pixel.
        names: Label and name. A name that does not fit into its region, or that no font has, is left out: the legend has it.
        text_size: Height of letters in pixels.
    """
    step = max(1, min(label_map.shape) // _STEPS)
    small = label_map[::step, ::step]
    draw = ImageDraw.Draw(image)
    for label, name in names:
        runs = text_runs(name, text_size)
        if not runs:
            continue
        length = sum(font.getlength(piece) for font, piece in runs)
        row, column, radius = _inmost_point(small == label)
        if length / 2 > radius * step * _MOST_OVERHANG or text_size / 2 > radius * step:
            continue
        middle = (column + 0.5) * step, (row + 0.5) * step
        left = min(max(middle[0] - length / 2, _HALO), label_map.shape[1] - length - _HALO)
        top = min(max(middle[1] - text_size * 0.62, 0), label_map.shape[0] - text_size * 1.3)
        _draw(draw, (round(left), round(top)), runs, text_size)


def _inmost_point(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, float]:
    """Return row and column of the point of the largest region that is furthest from its border, and how far."""
    from scipy import ndimage

    regions, count = ndimage.label(mask)
    if not count:
        return 0, 0, 0.0
    largest = 1 + int(np.bincount(regions.ravel())[1:].argmax())
    distance = ndimage.distance_transform_edt(np.pad(regions == largest, 1))[1:-1, 1:-1]
    deep = np.argwhere(distance >= _DEEP * distance.max())
    row, column = deep[((deep - deep.mean(0)) ** 2).sum(1).argmin()]  # of a long region, not one of its ends
    return int(row), int(column), float(distance[row, column])


def _draw(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], runs: Sequence[tuple[Font, str]], size: int
) -> None:
    """Draw white letters with a dark halo, which can be read on every colour."""
    left, top = corner
    around = [
        (x, y)
        for x in range(-_HALO, _HALO + 1)
        for y in range(-_HALO, _HALO + 1)
        if x * x + y * y <= _HALO**2 + 1
    ]
    for x, y in around:
        draw_runs(draw, (left + x, top + y), runs, size=size, fill=(20, 20, 20))
    draw_runs(draw, corner, runs, size=size, fill="white")
