"""A sheet of one image: its caption, its neighbours and theirs, and its ranked concepts."""

import base64
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.decoding import UnreadableImageError, decode_image
from lexiseg.data.captions.folder_source import FolderSource
from lexiseg.data.captions.records import CaptionSource, RawRecord
from lexiseg.data.curation.concept_vocabulary import plural, words_of
from lexiseg.data.folder import FolderDataset

_SIDE = 180
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.3rem} h2{font-size:1.05rem;margin:1.4rem 0 .4rem} table{border-collapse:collapse}
td,th{text-align:left;padding:.1rem 1rem .1rem 0;font-variant-numeric:tabular-nums} .near{display:flex;flex-wrap:wrap;gap:.8rem}
figure{margin:0;width:180px} img{max-width:100%} figcaption{font-size:.85rem;overflow-wrap:anywhere} .note{color:#555}
.missing td{background:#fff3c4}
"""


@dataclass(frozen=True, kw_only=True)
class VisibleClasses:
    """What an image truly shows, where its folder has a label map of it.

    Attributes:
        vocabulary: Of the folder.
        visible: Labels that have pixels.
    """

    vocabulary: Vocabulary
    visible: Collection[int]

    def shows(self, concept: str) -> bool | None:
        """Tell whether a concept is there; None where the folder has no class of that name."""
        for label, names in enumerate(self.vocabulary.all_names()):
            forms = {" ".join(words_of(name)) for name in names}
            if concept in forms | {plural(form) for form in forms}:
                return label in self.visible
        return None


def visible_classes(source: CaptionSource, key: str) -> VisibleClasses | None:
    """Read what an image truly shows; None where the data have no label maps."""
    if not isinstance(source, FolderSource) or not (Path(source.path) / "classes.txt").is_file():
        return None
    dataset = FolderDataset(source.path)
    label_map = dataset[dataset.stems.index(key)].label_map
    if label_map is None:
        return None
    return VisibleClasses(vocabulary=dataset.vocabulary, visible=set(np.unique(label_map).tolist()))


def write_sheet(
    path: Path,
    row: Mapping[str, Any],
    image: CaptionSource,
    neighbours: Mapping[str, tuple[CaptionSource, int, str]],
    truth: VisibleClasses | None,
) -> None:
    """Write the sheet as one HTML file.

    Args:
        path: Where.
        row: As ``CuratedImages.whole`` gives it.
        image: The data the image is read from.
        neighbours: By name: the data, the record and the caption of each neighbour.
        truth: What the image truly shows, where it is known.

    Raises:
        OutputError: It cannot be written.
    """
    name = f"{row['shard']}#{row['key']}"
    near = "".join(
        f"<figure>{_image(*neighbours[each][:2])}<figcaption>{similarity:.3f} {escape(each)}<br>"
        f"“{escape(neighbours[each][2])}”</figcaption></figure>"
        for each, similarity in zip(row["neighbours"], row["similarities"], strict=True)
    )
    known = [None if truth is None else truth.shows(concept) for concept in row["concepts"]]
    rows = "".join(_concept_row(row, place, known[place]) for place in range(len(row["concepts"])))
    missing = [c for c, said in zip(row["concepts"], row["in_caption"], strict=True) if not said]
    if truth is None:
        note = f"The caption does not name: {', '.join(missing) or 'none of them'}."
    else:
        shown = [
            c
            for c, said, there in zip(row["concepts"], row["in_caption"], known, strict=True)
            if there and not said
        ]
        note = f"Visible by the label map, and not in the caption: {', '.join(shown) or 'none of them'}."
    seen = "<th>visible</th>" if truth is not None else ""
    table = (
        f"<table><tr><th>concept</th><th>σ_a</th><th>σ_b</th><th>score</th><th>cluster</th><th>in the caption</th>{seen}"
        f"</tr>{rows}</table>"
        if rows
        else "<p>No concept: no caption of a neighbour names one.</p>"
    )
    captions = "".join(f"<p>“{escape(caption)}”</p>" for caption in row["captions"])
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(name)}</h1><figure>{_image(image, row['record'])}</figure>{captions}"
        f'<h2>Concepts</h2><p class="note">{escape(note)}</p>{table}'
        f'<h2>Neighbours</h2><div class="near">{near}</div></html>\n'
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _concept_row(row: Mapping[str, Any], place: int, there: bool | None) -> str:
    said = row["in_caption"][place]
    cluster = "" if row["clusters"] is None else str(row["clusters"][place])
    numbers = "".join(f"<td>{row[name][place]:.4f}</td>" for name in ("sigma_a", "sigma_b", "scores"))
    seen = "" if there is None else f"<td>{'yes' if there else 'no'}</td>"
    mark = ' class="missing"' if there and not said else ""
    return (
        f"<tr{mark}><td>{escape(row['concepts'][place])}</td>{numbers}<td>{cluster}</td>"
        f"<td>{'yes' if said else 'no'}</td>{seen}</tr>"
    )


def _image(source: CaptionSource, record: int) -> str:
    """Read an image, shrink it, and give it as an HTML element."""
    raw = source.read(record)
    try:
        if not isinstance(raw, RawRecord):
            return f"<p>{escape(raw.reason.value)}</p>"
        small = Image.fromarray(np.ascontiguousarray(decode_image(raw.image)))
    except UnreadableImageError as error:
        return f"<p>{escape(error.detail)}</p>"
    small.thumbnail((_SIDE, _SIDE))
    held = io.BytesIO()
    small.save(held, format="JPEG", quality=85)
    return f'<img alt="{escape(raw.source)}" src="data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}">'
