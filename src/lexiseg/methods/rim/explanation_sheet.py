"""Draw an explanation as one HTML file that needs no other."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.methods.rim.explanation import Explanation, RegionExplanation

_PICTURE_SIDE = 240

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.3rem} h2{font-size:1.05rem;margin:0 0 .3rem} section{display:grid;grid-template-columns:250px 1fr 1fr;
gap:1.2rem;padding:1rem 0;border-top:1px solid #ccc} img{max-width:100%} table{border-collapse:collapse}
td,th{text-align:left;padding:.1rem .8rem .1rem 0;font-variant-numeric:tabular-nums} .near{display:flex;gap:.8rem}
figure{margin:0;width:6rem} figcaption{font-size:.8rem;overflow-wrap:anywhere} .note{color:#555}
@media(max-width:50rem){section{grid-template-columns:1fr}}
"""


def save_explanation(explanation: Explanation, path: Path, title: str) -> None:
    """Write the sheet: per region its place, its ranking and runner-up, and the nearest references.

    Raises:
        OutputError: It cannot be written.
    """
    count = len(explanation.regions)
    blocks = "".join(_block(explanation, region) for region in explanation.regions)
    if not blocks:
        blocks = "<p>No region was found: every pixel was labelled by its own patch.</p>"
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}: why {count} regions got their labels</h1>"
        '<p class="note">A region takes the class whose references rank the classes most alike: the '
        "smallest divergence. Cosine is the plain similarity to the class's nearest reference. The "
        f"matching formula is a reconstruction of the paper's.</p>{blocks}</html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _block(explanation: Explanation, region: RegionExplanation) -> str:
    share = float(region.mask.mean())
    rows = "".join(
        f"<tr><td>{escape(each.name)}</td><td>{each.divergence:.3f}</td><td>{each.cosine:.3f}</td></tr>"
        for each in region.ranking
    )
    second = f", then {escape(region.runner_up)}" if region.runner_up else ""
    plain = (
        ""
        if region.best_by_cosine == region.label
        else f'<p class="note">By cosine alone: {escape(region.best_by_cosine)}</p>'
    )
    near = "".join(
        f'<figure><img alt="reference picture of {escape(each.class_name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(each.thumbnail).decode()}">'
        f"<figcaption>{escape(each.class_name)} {each.cosine:.3f}<br>{escape(each.origin)}</figcaption></figure>"
        for each in region.nearest
    )
    return (
        f'<section><img alt="the region labelled {escape(region.label)}" '
        f'src="data:image/jpeg;base64,{_picture(explanation, region)}">'
        f"<div><h2>{escape(region.label)}{second}</h2><p>{share:.1%} of the picture</p>"
        f"<table><tr><th>class</th><th>divergence</th><th>cosine</th></tr>{rows}</table>{plain}</div>"
        f'<div><p>Nearest references</p><div class="near">{near}</div></div></section>'
    )


def _picture(explanation: Explanation, region: RegionExplanation) -> str:
    """Pale everything but the region, shrink, and give a JPEG in base64."""
    pixels = explanation.image.copy()
    pixels[~region.mask] = 192 + pixels[~region.mask] // 4
    small = Image.fromarray(np.ascontiguousarray(pixels))
    small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    held = io.BytesIO()
    small.save(held, format="JPEG", quality=80)
    return base64.b64encode(held.getvalue()).decode()
