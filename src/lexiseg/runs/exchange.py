"""The exchange rate of labels: what masks, tags, captions and names are worth on a person's own labelled images.

Several times the labelled images are divided anew: two thirds lend labels, one third is scored. Of the first, a head on frozen
features learns once from names alone, once from tags (those of tags.tsv, else the classes that the masks show), once from
captions where there are some, and from masks of so many images a class, on top of the tags of all the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from lexiseg.core.errors import InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.methods.frozen_head.fitting import fit_head
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.runs.own_labels import Described, evidence_of
from lexiseg.runs.quick_score import PatchTruth, drawn_mean_ious, draws_of_images, mean_iou

#: Fewer labelled images say nothing.
LEAST_IMAGES = 12
_SCORED_SHARE = 1 / 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Regime:
    """One point of the curves.

    Attributes:
        name: ``names``, ``tags``, ``captions``, or so many masks a class.
        masks: Masks a class; 0 for none, None for all.
        draws: Mean IoU in each draw of images of each division, in [0, 1].
        values: Mean IoU of each division.
        images: Images with masks, on average over divisions.
    """

    name: str
    masks: int | None
    draws: Float[np.ndarray, " R"]
    values: Float[np.ndarray, " S"]
    images: float

    @property
    def value(self) -> float:
        """Mean over the divisions."""
        return float(self.values.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Middle 95 % over divisions and draws of images."""
        low, high = np.quantile(self.draws, (0.025, 0.975))
        return float(low), float(high)


def exchange_rate(
    described: Sequence[Described],
    vocabulary: Vocabulary,
    settings: FrozenHeadSettings,
    *,
    num_alike: int = 0,
    masks: Sequence[int] = (10, 20, 50),
    divisions: int = 5,
    advance: Callable[[], None] = lambda: None,
) -> list[Regime]:
    """Measure every regime.

    Args:
        described: Images, some with masks; the others lend their tags and captions.
        vocabulary: Their classes.
        settings: How heads are fitted.
        num_alike: How many of the first features say which patches are alike.
        masks: Numbers of masks a class, beside all; those that the images do not have are left out.
        divisions: How often images are divided into those that are learnt from and those that are scored.
        advance: Called after each fit.

    Raises:
        InputError: Fewer than ``LEAST_IMAGES`` images have masks.
    """
    labelled = [place for place, image in enumerate(described) if image.shares is not None]
    if len(labelled) < LEAST_IMAGES:
        raise InputError(
            doing="measuring what labels are worth",
            found=f"{len(labelled)} images with masks",
            expected=f"{LEAST_IMAGES} or more: a third of them is scored",
            fix="Label more; lexiseg next FOLDER says which.",
        )
    vocabulary = replace(
        vocabulary, seen=None
    )  # masks are of all classes here; which are used is what is varied
    with_captions = any(described[place].in_captions for place in labelled)
    most = max(_most_masks(described, labelled, vocabulary), 1)
    steps: list[tuple[str, int | None]] = [("names", 0), ("tags", 0)]
    steps += [("captions", 0)] if with_captions else []
    steps += [(f"{count} masks a class", count) for count in masks if count < most]
    steps += [("all masks", None)]
    draws: dict[str, list[Any]] = {name: [] for name, _ in steps}
    values: dict[str, list[float]] = {name: [] for name, _ in steps}
    images: dict[str, list[int]] = {name: [] for name, _ in steps}
    for division in range(divisions):
        order = np.random.default_rng(division).permutation(labelled).tolist()
        num_scored = max(1, round(len(order) * _SCORED_SHARE))
        truth = PatchTruth([described[place] for place in order[:num_scored]], len(vocabulary))
        resampled = draws_of_images(num_scored, division)
        pool = [described[place] for place in order[num_scored:]]
        for name, count in steps:
            masked = set(_with_masks(pool, count, vocabulary))
            kind = name if name in ("names", "captions") else "tags"
            evidence = [
                evidence_of(_as_tagged(image), vocabulary, ("masks",) if place in masked else (kind,))
                for place, image in enumerate(pool)
            ]
            counts = truth.count(fit_head(evidence, len(vocabulary), settings, num_alike=num_alike))
            draws[name].append(drawn_mean_ious(counts, resampled))
            values[name].append(mean_iou(counts.sum(0)))
            images[name].append(len(masked))
            advance()
    return [
        Regime(
            name=name,
            masks=count,
            draws=np.concatenate(draws[name]),
            values=np.array(values[name]),
            images=float(np.mean(images[name])),
        )
        for name, count in steps
    ]


def gain(regimes: Sequence[Regime], over: str = "tags") -> tuple[Regime, float, tuple[float, float]]:
    """Return the most masks a class below all, what they gain over another regime, and its interval.

    Differences are of the same draws of the same divisions.
    """
    base = next(regime for regime in regimes if regime.name == over)
    limited = [regime for regime in regimes if regime.masks]
    best = limited[-1] if limited else regimes[-1]
    low, high = np.quantile(best.draws - base.draws, (0.025, 0.975))
    return best, best.value - base.value, (float(low), float(high))


def _as_tagged(image: Described) -> Described:
    """Give an image without a line in tags.tsv the classes that its masks show as tags."""
    return image if image.tags is not None else replace(image, tags=image.in_masks)


def _with_masks(pool: Sequence[Described], count: int | None, vocabulary: Vocabulary) -> list[int]:
    """Choose images in order until every class has so many masks, or no more: one that no class needs is left out."""
    if count is None:
        return list(range(len(pool)))
    have = np.zeros(len(vocabulary), np.int64)
    chosen = []
    for place, image in enumerate(pool):
        if any(have[label] < count for label in image.in_masks):
            chosen.append(place)
            have[list(image.in_masks)] += 1
    return chosen


def _most_masks(described: Sequence[Described], labelled: Sequence[int], vocabulary: Vocabulary) -> int:
    """Return the masks of the most frequent class that two thirds of the images have."""
    have = np.zeros(len(vocabulary), np.int64)
    for place in labelled:
        have[list(described[place].in_masks)] += 1
    return int(have.max() * (1 - _SCORED_SHARE))
