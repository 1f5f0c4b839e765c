"""The segments of an image: where each is, and what it was called."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.drawing import region_thumbnail
from lexiseg.core.vocabulary import Words
from lexiseg.data.images import ImageSource
from lexiseg.data.transforms import resize_image
from lexiseg.inference.encode import EncodedImage
from lexiseg.methods.groupvit.segmenter import GroupViT
from lexiseg.methods.groupvit.stitching import segment_map

#: Classes shown of a segment.
NUM_SHOWN = 3
_THUMBNAIL = 180


@dataclass(frozen=True, kw_only=True)
class SegmentClass:
    """What a class scores for a segment.

    Attributes:
        name: The class.
        affinity: In [0, 1]; 0 for a class that the whole image is not similar enough to.
        cosine: Similarity of the segment to the class.
    """

    name: str
    affinity: float
    cosine: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedSegment:
    """One segment of a window.

    Attributes:
        mask: Its pixels of the window.
        classes: The best first; the first is what it was called.
        is_background: Its affinity is below the threshold.
    """

    mask: Bool[np.ndarray, "h w"]
    classes: tuple[SegmentClass, ...]
    is_background: bool

    @property
    def label(self) -> str:
        """What the segment was called."""
        return "background" if self.is_background else self.classes[0].name


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedWindow:
    """A window of the image, as the model saw it.

    Attributes:
        pixels: RGB, 0..255.
        kept: Classes that the whole window is similar enough to, the most similar first.
        segments: All of them, the largest first; those without a pixel too.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    kept: tuple[str, ...]
    segments: tuple[ExplainedSegment, ...]


def explain(
    model: GroupViT, image: ImageSource | EncodedImage, words: Words, *, background: bool | None = None
) -> tuple[ExplainedWindow, ...]:
    """Tell what the segments of every window are and what each was called.

    Args:
        model: The segmenter, whose own settings apply.
        image: What ``segment`` takes.
        words: The vocabulary.
        background: Whether segments below the model's threshold are background; None follows its settings.

    Raises:
        VocabularyError: The words cannot be used.
        ImageError: The image cannot be read.
    """
    settings = model.settings
    if background is not None:
        settings = settings.changed(background="threshold" if background else "none")
    encoded = image if isinstance(image, EncodedImage) else model.encode(image)
    names = model.name_classes(words, settings)
    called = [names.vocabulary.names[label] for label in names.labels]
    seen = resize_image(encoded.image, encoded.resized_size)
    explained = []
    for features, window, (affinity, cosines, of_image) in zip(
        encoded.features, encoded.windows, model.similarities(encoded, names, settings), strict=True
    ):
        limit = min(settings.threshold or 0.0, float(affinity.max()))
        place = segment_map(features, window)
        segments = []
        for index in np.argsort([-np.count_nonzero(place == g) for g in range(len(affinity))], kind="stable"):
            order = affinity[index].argsort(descending=True, stable=True)[:NUM_SHOWN].tolist()
            segments.append(
                ExplainedSegment(
                    mask=place == index,
                    classes=tuple(
                        SegmentClass(
                            name=called[k],
                            affinity=float(affinity[index, k]),
                            cosine=float(cosines[index, k]),
                        )
                        for k in order
                    ),
                    is_background=settings.background == "threshold" and float(affinity[index].max()) < limit,
                )
            )
        kept = of_image.argsort(descending=True, stable=True)[: model.method.segments.kept_classes].tolist()
        area = seen[:, window.top : window.top + window.height, window.left : window.left + window.width]
        explained.append(
            ExplainedWindow(
                pixels=(area * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(),
                kept=tuple(called[k] for k in kept),
                segments=tuple(segments),
            )
        )
    return tuple(explained)


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.3rem} h2{font-size:1.05rem} .row{display:flex;flex-wrap:wrap;gap:1.2rem} figure{margin:0;width:180px}
figcaption{font-size:.85rem} img{max-width:100%} td{padding-right:.6rem;font-variant-numeric:tabular-nums}
.note{color:#555}
"""


def save_explanation(windows: tuple[ExplainedWindow, ...], path: Path, title: str) -> None:
    """Write a page with every window and its segments.

    Args:
        windows: As ``explain`` gives them.
        path: The page's file; it needs no other.
        title: Shown at the top.

    Raises:
        OutputError: It cannot be written.
    """
    blocks = "".join(
        f"<h2>Window {number} of {len(windows)}</h2><p>Classes that the whole window may have: "
        f'{escape(", ".join(window.kept))}.</p><div class="row">'
        + "".join(_figure(window, segment) for segment in window.segments)
        + "</div>"
        for number, window in enumerate(windows, start=1)
    )
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}: segments, and what each was called</h1>"
        '<p class="note">A segment takes the class with the largest affinity: its probability among all '
        "classes, times its probability among those that the window may have. Windows are averaged where they "
        f"overlap.</p>{blocks}</html>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _figure(window: ExplainedWindow, segment: ExplainedSegment) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.name)}</td><td>{each.affinity:.3f}</td><td>{each.cosine:.3f}</td></tr>"
        for each in segment.classes
    )
    return (
        f'<figure><img alt="the segment called {escape(segment.label)}" '
        f'src="data:image/jpeg;base64,{region_thumbnail(window.pixels, segment.mask, _THUMBNAIL)}">'
        f"<figcaption><b>{escape(segment.label)}</b>, "
        f"{segment.mask.mean():.1%} of the window<table><tr><td>class</td><td>affinity</td><td>cosine</td></tr>"
        f"{rows}</table></figcaption></figure>"
    )
