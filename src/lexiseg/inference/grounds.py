"""Grounds: what decided at one pixel, before it is told. Every method gives its own; this is that of plain scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from lexiseg.core.explanation import Evidence
from lexiseg.core.interfaces import TextEncoder
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.predict import over_names, pixel_scores, window_scores
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.ops.prompts import fill, find_prompt_set
from lexiseg.ops.resize import resize_rows, source_rows

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter

#: Names of a class, and sentences of a name, that are shown.
NUM_SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedPixel:
    """A pixel that is asked about, and all that its label depends on.

    Attributes:
        encoded: The image and its features.
        class_names: What competes.
        settings: The settings that apply to this image.
        point: ``(x, y)`` from the upper left corner of the image at its own size.
        place: Which of ``class_names.labels`` the pixel has; None where it is void or below a threshold.
    """

    encoded: EncodedImage
    class_names: ClassNames
    settings: InferenceSettings
    point: tuple[int, int]
    place: int | None

    def class_name(self, place: int) -> str:
        """Return the name of a competing class."""
        return self.class_names.vocabulary.names[self.class_names.labels[place]]

    def rows_of(self, place: int) -> range:
        """Return which rows of the embeddings are the names of a competing class."""
        start = sum(self.class_names.counts[:place])
        return range(start, start + self.class_names.counts[place])


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounds:
    """What decided at one pixel.

    Attributes:
        values: What each competing class was judged by, in the order of ``ClassNames.labels``; NaN for one that did not
            compete at this pixel.
        measure: What the values are.
        evidence: What spoke for the winner and the runner-up.
        lower_wins: Whether the smallest value wins.
        notes: What else must be known, in sentences.
        region: Pixels that were decided together with this one; None where each is decided alone.
    """

    values: Float32[np.ndarray, " C"]
    measure: str
    evidence: tuple[Evidence, ...] = ()
    lower_wins: bool = False
    notes: tuple[str, ...] = ()
    region: Bool[np.ndarray, "H W"] | None = None

    def order(self) -> list[int]:
        """Return the places of the classes that competed, the best first."""
        competed = np.flatnonzero(~np.isnan(self.values))
        keys = self.values[competed] if self.lower_wins else -self.values[competed]
        return [int(place) for place in competed[np.argsort(keys, kind="stable")]]

    def two_best(self, place: int | None) -> list[int]:
        """Return the place of the class that the pixel has, if any, and of the best of the others."""
        others = [each for each in self.order() if each != place]
        return [*([] if place is None else [place]), *others[: 1 if place is not None else 2]]


@torch.inference_mode()
def values_at(
    model: "Segmenter", asked: AskedPixel, embeddings: Float[Tensor, "S D"], counts: Sequence[int]
) -> Float32[np.ndarray, " C"]:
    """Score classes at one pixel just as ``predict.best_classes`` does at all.

    Args:
        model: Its scores.
        asked: The pixel.
        embeddings: One row a name; the names of a class are neighbours.
        counts: Names of each class.
    """
    encoded, settings = asked.encoded, asked.settings
    x, y = asked.point
    rows = (y, y + 1)
    if len(encoded.windows) > 1 or model.upsample is not None or settings.is_by_probability:
        found = pixel_scores(
            encoded,
            rows,
            score=model.class_scores,
            embeddings=embeddings,
            names_per_class=counts,
            settings=settings,
            upsample=model.upsample,
        )
    else:
        (scores,) = window_scores(encoded, model.class_scores, embeddings)
        scores = over_names(scores, counts, settings.synonyms)
        first, stop = source_rows(scores.shape[1], encoded.image.shape[0], rows)
        size = (encoded.image.shape[0], encoded.image.shape[1])
        found = resize_rows(scores[:, first:stop], size, rows, source=(first, scores.shape[1]))
    values: Float32[np.ndarray, " C"] = found[:, 0, x].float().cpu().numpy()
    return values


def score_grounds(model: "Segmenter", asked: AskedPixel) -> Grounds:
    """Tell what class scores say at a pixel, with the names of the winner and of the runner-up one by one."""
    names = asked.class_names
    values = values_at(model, asked, names.embeddings, names.counts)
    grounds = Grounds(values=values, measure=model.measure)
    each = values
    if len(names.names) > len(names.counts):
        each = values_at(model, asked, names.embeddings, [1] * len(names.names))
    evidence = [
        Evidence(
            kind="word",
            name=names.names[row],
            supports=asked.class_name(place),
            value=float(each[row]),
            measure=model.measure,
        )
        for place in grounds.two_best(asked.place)
        for row in sorted(asked.rows_of(place), key=lambda row: -each[row])[:NUM_SHOWN]
    ]
    return replace(grounds, evidence=tuple(evidence))


def with_templates(
    grounds: Grounds, model: "Segmenter", text_encoder: TextEncoder, asked: AskedPixel
) -> Grounds:
    """Add the sentences that the winner's best name was put into, the nearest to the pixel first.

    The class embedding is their mean. Sentences are embedded once and remembered on disk, as names are.
    """
    prompt_set = find_prompt_set(asked.settings.prompts)
    best = grounds.two_best(asked.place)
    if len(prompt_set.templates) < 2 or not best:
        return grounds
    supports = asked.class_name(best[0])
    name = next(each.name for each in grounds.evidence if each.supports == supports)
    sentences = list(dict.fromkeys(fill(prompt_set, name)))
    rows = embed_names(text_encoder, sentences, "bare").to(asked.class_names.embeddings)
    values = values_at(model, asked, rows, [1] * len(rows))
    evidence = tuple(
        Evidence(
            kind="template",
            name=sentences[row],
            supports=supports,
            value=float(values[row]),
            measure=model.measure,
        )
        for row in np.argsort(-values, kind="stable")[:NUM_SHOWN]
    )
    note = (
        f"{name!r} was put into {len(sentences)} sentences, {values.min():.3g} to {values.max():.3g} near to this pixel; "
        "the class is their mean."
    )
    return replace(grounds, evidence=(*grounds.evidence, *evidence), notes=(*grounds.notes, note))


def window_at(encoded: EncodedImage, point: tuple[int, int]) -> tuple[int, tuple[float, float]]:
    """Find the window, of the finest size, that has a pixel nearest to its middle, and where the pixel lies in it.

    Returns:
        Number of the window, and ``(x, y)`` of the pixel's centre in it, in pixels of the image that the model saw.
    """
    height, width = encoded.image.shape[:2]
    x = (point[0] + 0.5) * encoded.resized_size[1] / width
    y = (point[1] + 0.5) * encoded.resized_size[0] / height

    def from_middle(index: int) -> float:
        window = encoded.windows[index]
        return max(abs((x - window.left) / window.width - 0.5), abs((y - window.top) / window.height - 0.5))

    finest = encoded.view_counts[-1] if encoded.view_counts else len(encoded.windows)
    best = min(range(len(encoded.windows) - finest, len(encoded.windows)), key=from_middle)
    window = encoded.windows[best]
    return best, (x - window.left, y - window.top)


def tokens_at(encoded: EncodedImage, point: tuple[int, int]) -> Float[Tensor, " D"]:
    """Return what the patches around a pixel say, interpolated as scores are; of the window it is most in the middle of."""
    index, (x, y) = window_at(encoded, point)
    features, window = encoded.features[index], encoded.windows[index]
    maps = rearrange(features.tokens, "1 (h w) d -> d h w", h=features.grid[0])
    column = min(max(x * features.grid[1] / window.width - 0.5, 0.0), features.grid[1] - 1.0)
    row = min(max(y * features.grid[0] / window.height - 0.5, 0.0), features.grid[0] - 1.0)
    left, top = int(column), int(row)
    right, bottom = min(left + 1, features.grid[1] - 1), min(top + 1, features.grid[0] - 1)
    upper = torch.lerp(maps[:, top, left], maps[:, top, right], column - left)
    lower = torch.lerp(maps[:, bottom, left], maps[:, bottom, right], column - left)
    return torch.lerp(upper, lower, row - top).float().cpu()
