"""Decide by probabilities: a softmax over all names that compete, at every pixel of the image.

The papers on dense heads of CLIP choose background so (Wang et al., "SCLIP", ECCV 2024, and those after it). Scores are
resized first and compared then, as everywhere; a class has the probability of its best name, not the sum over its names.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt16
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.core.label_maps import label_counts, relabel
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.predict import (
    Score,
    Upsample,
    chunks,
    grid_scores,
    over_names,
    upsampled_scores,
    window_scores,
)
from lexiseg.inference.refine import refine_labels
from lexiseg.inference.refine_crf import refine_labels_crf
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.resize import resize_rows
from lexiseg.ops.sliding_window import stitch_band

#: Gives the scores of some classes at every pixel: their places, scores of all their names, and scores of the classes.
_Maps = Callable[[], Iterator[tuple[slice, Float[Tensor, "S H W"], Float[Tensor, "C H W"]]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Best:
    """Place and score of the best class of every pixel."""

    places: UInt16[np.ndarray, "H W"]
    scores: Float32[np.ndarray, "H W"]


def refuse_probabilities(name: str, settings: InferenceSettings) -> None:
    """Refuse settings that only probabilities of all names can follow, for a method that has none.

    Raises:
        InputError: One is set.
    """
    asked = [field for field in ("min_probability", "min_area_share") if getattr(settings, field) is not None]
    if settings.background == "probability":
        asked.insert(0, "background probability")
    if asked:
        raise InputError(
            doing=f"labelling with {name}",
            found=f"{', '.join(asked)}, which need the score of every name at every pixel",
            expected="settings of a method that decides so: this one decides by regions or by the whole image",
            fix="Leave it out; --background threshold or name may do.",
        )


@torch.inference_mode()
def decide_by_probability(
    encoded: EncodedImage,
    score: Score,
    class_names: ClassNames,
    *,
    settings: InferenceSettings,
    independent_classes: bool = True,
    upsample: Upsample | None = None,
) -> Decision:
    """Decide labels, scores and probabilities of all pixels; small classes are left out where the settings say so.

    Memory does not grow with the vocabulary: names are taken in chunks, and only their best and the sum of their
    exponentials stay.

    Args:
        encoded: The image and its features.
        score: The method's ``class_scores``.
        class_names: What competes.
        settings: Of the softmax, small classes and borders.
        independent_classes: Scores may be computed for a part of the names at a time.
        upsample: The method's own way from features to scores of pixels, if it has one.
    """
    counts, labels = class_names.counts, np.asarray(class_names.labels, np.uint16)
    maps = _pixel_maps(encoded, score, class_names, settings, independent_classes, upsample)
    best, total = _compete(maps, settings.logit_scale)
    if settings.min_area_share is not None:
        background = class_names.background
        dropped = _small_classes(
            best.places,
            len(counts),
            least=settings.min_area_share,
            background=None if background is None else class_names.labels.index(background),
        )
        if dropped:
            best, _ = _compete(maps, settings.logit_scale, without=dropped)
    probabilities = np.exp(settings.logit_scale * best.scores - total)
    if settings.refine == "none" or len(counts) == 1:
        return Decision(labels=labels[best.places], scores=best.scores, probabilities=probabilities)
    winners = np.flatnonzero(label_counts(best.places, len(counts))[0]).tolist()
    coarse = grid_scores(
        encoded,
        score,
        class_names.embeddings,
        counts,
        winners,
        settings=settings,
        independent_classes=independent_classes,
    )
    refine = refine_labels_crf if settings.refine == "crf" else refine_labels
    refined = refine(coarse, encoded.image)
    return Decision(
        labels=relabel(refined.labels, labels[winners]), scores=refined.best, probabilities=probabilities
    )


def _pixel_maps(
    encoded: EncodedImage,
    score: Score,
    class_names: ClassNames,
    settings: InferenceSettings,
    independent_classes: bool,
    upsample: Upsample | None,
) -> _Maps:
    embeddings, counts = class_names.embeddings, class_names.counts
    size = (encoded.image.shape[0], encoded.image.shape[1])
    seen = encoded.resized_size
    pixels = max(size[0] * size[1], seen[0] * seen[1])
    most = max(1, settings.memory_mb * 2**20 // (4 * 4 * pixels))
    joint = None if independent_classes else window_scores(encoded, score, embeddings)

    def walk() -> Iterator[tuple[slice, Tensor, Tensor]]:
        for classes, names in chunks(counts, most):
            if upsample is not None:
                singles = [1] * (names.stop - names.start)
                whole = upsampled_scores(
                    encoded, upsample, embeddings[names], singles, settings, (0, seen[0])
                )
                resized = resize_rows(whole, size, (0, size[0]))
                yield classes, resized, over_names(resized, counts[classes], settings.synonyms)
                continue
            found = (
                window_scores(encoded, score, embeddings[names])
                if joint is None
                else [scores[names] for scores in joint]
            )
            if len(found) == 1:
                whole = found[0]
            else:
                whole = stitch_band(
                    found,
                    encoded.windows,
                    seen,
                    (0, seen[0]),
                    blend=settings.blend,
                    weights=encoded.weights,
                )
            resized = resize_rows(whole, size, (0, size[0]))
            yield classes, resized, over_names(resized, counts[classes], settings.synonyms)

    return walk


def _compete(
    maps: _Maps, logit_scale: float, *, without: Collection[int] = ()
) -> tuple[_Best, Float32[np.ndarray, "H W"]]:
    """Find the best class of every pixel, and the logarithm of the sum of exponentials of all names."""
    best = places = total = None
    for classes, of_names, of_classes in maps():
        summed = (logit_scale * of_names).logsumexp(dim=0)
        total = summed if total is None else torch.logaddexp(total, summed)
        for place in without:
            if classes.start <= place < classes.stop:
                of_classes[place - classes.start] = float("-inf")
        values, index = of_classes.max(dim=0)
        index = index + classes.start
        if best is None or places is None:
            best, places = values, index
        else:
            places = torch.where(values > best, index, places)
            best = torch.maximum(values, best)
    assert best is not None
    assert places is not None
    assert total is not None
    found = _Best(places=places.cpu().numpy().astype(np.uint16), scores=best.float().cpu().numpy())
    return found, total.float().cpu().numpy()


def _small_classes(
    places: UInt16[np.ndarray, "H W"], num_classes: int, *, least: float, background: int | None
) -> list[int]:
    """List the classes that win some pixels, but not more than a share of all foreground's.

    Where no class at all would be left, the largest stays.
    """
    areas, _ = label_counts(places, num_classes)
    if background is not None:
        areas[background] = 0
    # A class without pixels could win those of a dropped one: it is as small.
    small = [
        place for place in range(num_classes) if place != background and areas[place] <= least * areas.sum()
    ]
    if background is None and len(small) == num_classes:
        small.remove(int(areas.argmax()))
    return small
