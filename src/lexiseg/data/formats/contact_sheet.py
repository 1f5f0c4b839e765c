"""One page of a folder of results: every image with its regions, filtered by class, two models side by side.

The page is one file: images are in it, small, and it asks no host for anything.
"""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.drawing import class_colours
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.result_files import FACTS, LABELS, OVERLAY, read_facts
from lexiseg.data.formats.segmented import SegmentedFolder

_SIDE = 480
#: Images of one page: about 40 kB each.
MOST_IMAGES = 500

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.4 system-ui,sans-serif;margin:1rem;max-width:110rem}
h1{font-size:1.3rem;margin:0 0 .3rem}
#classes{display:flex;flex-wrap:wrap;gap:.4rem;margin:.8rem 0}
#classes button{font:inherit;border:1px solid #8888;border-radius:1rem;padding:.15rem .7rem;
 background:none;color:inherit;cursor:pointer}
#classes button[aria-pressed=true]{background:#8884;font-weight:600}
.dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.4em}
#images{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--card)),1fr));gap:1rem}
figure{margin:0;border:1px solid #8884;border-radius:.4rem;padding:.5rem;overflow:hidden}
figure div{display:flex;gap:.4rem}
img{min-width:0;flex:1;width:100%;object-fit:contain;border-radius:.2rem}
figcaption{overflow-wrap:anywhere;font-size:.85rem;margin-top:.3rem}
small{opacity:.75}
[hidden]{display:none}
"""
_SCRIPT = """
const figures=[...document.querySelectorAll('figure')],shown=document.getElementById('shown');let on=new Set();
function draw(){let n=0;for(const f of figures){const has=JSON.parse(f.dataset.classes);
const hide=on.size&&![...on].every(c=>has.includes(c));f.hidden=hide;n+=!hide}shown.textContent=n}
for(const b of document.querySelectorAll('#classes button'))b.onclick=()=>{const c=+b.dataset.c;
on.has(c)?on.delete(c):on.add(c);b.setAttribute('aria-pressed',on.has(c));draw()};draw();
"""


def write_contact_sheet(folders: Sequence[Path], out: Path) -> int:
    """Write one HTML page of one folder of results, or of two that are compared.

    Args:
        folders: What ``lexiseg segment`` wrote; a second one is shown beside the first, image by image, with the share of
            pixels whose class names differ.
        out: The page.

    Returns:
        The number of images on it: those of both folders, ``MOST_IMAGES`` at most, of which the page says how many there are.

    Raises:
        DatasetError: A folder holds no results, or of several vocabularies; or two have no image in common.
        OutputError: The page cannot be written.
    """
    results = [SegmentedFolder(folder) for folder in folders]
    everywhere = set.intersection(*(set(each.stems) for each in results))
    common = [stem for stem in results[0].stems if stem in everywhere]
    names = list(dict.fromkeys(name for each in results for name in each.names))
    figures, counts = [], np.zeros(len(names), int)
    for stem in common[:MOST_IMAGES]:
        figure, present = _figure(stem, results, names)
        figures.append(figure)
        counts[present] += 1
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(_head(results, names, counts, len(figures), len(common)))
        file.writelines(figures)
        file.write(f"</main><script>{_SCRIPT}</script></body></html>\n")
    return len(figures)


def _head(
    results: Sequence[SegmentedFolder],
    names: Sequence[str],
    counts: np.ndarray,
    num_shown: int,
    num_images: int,
) -> str:
    colours = class_colours(max(len(names), 1))
    buttons = ""
    for label, name in enumerate(names):
        colour = f"rgb{tuple(map(int, colours[label]))}"
        buttons += f'<button data-c="{label}" aria-pressed="false"><span class="dot" style="background:{colour}"></span>'
        buttons += f"{escape(name)} <small>{counts[label]}</small></button>"
    titles = " | ".join(f"{each.folder.name} ({_model_of(each)})" for each in results)
    left_out = f"; the first {num_shown} of {num_images:,}" if num_shown < num_images else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(titles)}</title><style>:root{{--card:{16 * len(results)}rem}}{_STYLE}</style></head><body>"
        f'<h1>{escape(titles)}</h1><p><span id="shown">{num_shown}</span> of {num_shown} images{left_out}. '
        f'Choose classes to see the images that show all of them.</p><div id="classes">{buttons}</div><main id="images">\n'
    )


def _model_of(results: SegmentedFolder) -> str:
    facts = read_facts(results.folder / f"{results.stems[0]}{FACTS}") or {}
    return str(facts.get("settings", {}).get("model", "?"))


def _figure(stem: str, results: Sequence[SegmentedFolder], names: Sequence[str]) -> tuple[str, list[int]]:
    maps = [_named_labels(each, stem, names) for each in results]
    present = sorted({int(label) for labels in maps for label in np.unique(labels)} - {IGNORE_INDEX})
    images = ""
    for each in results:
        data = _thumbnail(each.folder / f"{stem}{OVERLAY}")
        images += f'<img loading="lazy" alt="{escape(stem)}" src="data:image/jpeg;base64,{data}">'
    shares = ", ".join(
        f"{escape(names[label])} {float((maps[0] == label).mean()):.0%}"
        for label in sorted(present, key=lambda label: -int((maps[0] == label).sum()))[:5]
    )
    differs = ""
    if len(maps) > 1 and maps[0].shape == maps[1].shape:
        differs = f" · {float((maps[0] != maps[1]).mean()):.0%} of pixels differ"
    return (
        f"<figure data-classes='{json.dumps(present)}'><div>{images}</div>"
        f"<figcaption><b>{escape(stem)}</b><br><small>{shares}{differs}</small></figcaption></figure>\n",
        present,
    )


def _named_labels(results: SegmentedFolder, stem: str, names: Sequence[str]) -> UInt16[np.ndarray, "H W"]:
    """Return the label map with labels of ``names``."""
    labels = decode(
        results.folder / f"{stem}{LABELS}", lambda image: np.asarray(image).astype(np.uint16), ("PNG",)
    )
    table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint16)
    table[: len(results.names)] = [names.index(name) for name in results.names]
    return table[labels]


def _thumbnail(path: Path) -> str:
    """Return a small JPEG in base64; a grey one where the overlay cannot be read."""
    try:
        small = decode(path, lambda image: image.convert("RGB"), ("PNG",))
    except (OSError, DamagedImageError):
        small = Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128))
    small.thumbnail((_SIDE, _SIDE))
    held = io.BytesIO()
    small.save(held, format="JPEG", quality=75)
    return base64.b64encode(held.getvalue()).decode()
