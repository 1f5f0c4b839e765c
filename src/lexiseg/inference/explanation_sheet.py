"""Explanations as one HTML file that needs no other."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.drawing import region_thumbnail
from lexiseg.core.explanation import Evidence, Explanation

_IMAGE_SIDE = 240
#: Half the side in pixels of what is shown of a single pixel, as a share of the longer side of the image.
_AROUND = 0.03

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.3rem} h2{font-size:1.05rem;margin:0 0 .3rem} section{display:grid;grid-template-columns:250px 1fr 1.3fr;
gap:1.2rem;padding:1rem 0;border-top:1px solid #ccc} img{max-width:100%} table{border-collapse:collapse}
td,th{text-align:left;vertical-align:top;padding:.1rem .8rem .1rem 0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
td:last-child{white-space:nowrap} .near{display:flex;flex-wrap:wrap;gap:.8rem} figure{margin:0;width:6rem}
figcaption{font-size:.8rem;overflow-wrap:anywhere} .note,th{color:#555;font-weight:400}
@media(max-width:50rem){section{grid-template-columns:1fr}}
"""


def pixel_region(size: tuple[int, int], point: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Return a square around a pixel, as the region that shows where it is.

    Args:
        size: ``(height, width)`` of the image.
        point: ``(x, y)``.
    """
    half = max(2, round(_AROUND * max(size)))
    region = np.zeros(size, bool)
    x, y = point
    region[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = True
    return region


def write_explanations(
    image: UInt8[np.ndarray, "H W 3"],
    explained: Sequence[tuple[Bool[np.ndarray, "H W"], Explanation]],
    path: Path,
    title: str,
) -> None:
    """Write a sheet: of each region its place, what it is called and by how much, the ranking, and what spoke for it.

    Args:
        image: RGB, 0..255.
        explained: Regions, and the explanation of a pixel of each.
        path: The sheet's file.
        title: Shown at the top.

    Raises:
        OutputError: It cannot be written.
    """
    blocks = "".join(
        _block(image, region, each, number) for number, (region, each) in enumerate(explained, start=1)
    )
    judged = sorted(
        {f"{each.measure} ({'least' if each.lower_wins else 'most'} wins)" for _, each in explained}
    )
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}: why pixels got their labels</h1>"
        f'<p class="note">Model: {escape(explained[0][1].model) if explained else "none"}. Each row explains one pixel, '
        f"the deepest of its region. Judged by: {escape('; '.join(judged))}.</p>{blocks}</html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _block(
    image: UInt8[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"], each: Explanation, number: int
) -> str:
    x, y = each.point
    ranking = "".join(
        f"<tr><td>{escape(ranked.name)}</td><td>{ranked.value:.3f}</td></tr>" for ranked in each.ranking
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in each.notes)
    plain = "".join(
        f"<tr><td>{escape(found.kind)}</td><td>{escape(found.name)}</td><td>{escape(found.supports)}</td>"
        f"<td>{found.value:.3f} {escape(found.measure)}</td></tr>"
        for found in each.evidence
        if found.image is None
    )
    figures = "".join(_figure(found) for found in each.evidence if found.image is not None)
    return (
        f'<section id="region-{number}"><div><img alt="the region of a pixel labelled {escape(each.label)}" '
        f'src="data:image/jpeg;base64,{region_thumbnail(image, region, _IMAGE_SIDE)}">'
        f'<p class="note">Pixel {x}, {y}; {region.mean():.1%} of the image</p></div>'
        f"<div><h2>{escape(each.label)}</h2><p>{escape(each.verdict())}</p>"
        f"<table><tr><th>class</th><th>{escape(each.measure)}</th></tr>{ranking}</table>{notes}</div>"
        f"<div><table><tr><th>evidence</th><th></th><th>for</th><th></th></tr>{plain}</table>"
        f'<div class="near">{figures}</div></div></section>'
    )


def _figure(found: Evidence) -> str:
    assert found.image is not None
    return (
        f'<figure><img alt="{escape(found.kind)} of {escape(found.supports)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(found.image).decode()}">'
        f"<figcaption>{escape(found.name)} {found.value:.3f}</figcaption></figure>"
    )
