"""Score the counts of a predictions store under any number of protocols."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import spelling_key
from lexiseg.data.datasets import dataset_facts
from lexiseg.metrics.bootstrap import RESAMPLES, SEED, Intervals, Statistic, intervals
from lexiseg.metrics.image_counts import OUTSIDE, ImageCounts, ImageMargins
from lexiseg.metrics.imagenet_s import ImageNetSScores, imagenet_s_scores
from lexiseg.metrics.iou import AVERAGES, Metric, Scores, harmonic_mean, iou_of_pixels, scores_of_pixels
from lexiseg.scoring.protocol import Protocol, check_classes, effective_protocol
from lexiseg.scoring.published import STEPS
from lexiseg.scoring.store.counts import Redecided, StoreCounter
from lexiseg.scoring.store.predictions import Manifest

#: Seen and unseen labels.
Sides: TypeAlias = tuple[frozenset[int], frozenset[int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProtocolScores:
    """What one store scored under one protocol.

    Attributes:
        protocol: What was really followed; its name shows where the run differs from the published one.
        asked: The protocol that was asked for.
        scores: All means; regions, or bands where the protocol compares those.
        headline: The mean that the protocol averages.
        num_averaged: Classes in that mean.
        sides: Seen and unseen labels, or None where there is no split.
        split_means: Seen, unseen and harmonic mean IoU, or None.
        names: Class names, in label order.
        margins: Per-image counts, for comparisons.
        counts: Per-image label pairs after the protocol's rules, for confusions.
        num_images: Images scored.
        imagenet_s: What the ImageNet-S evaluator prints beside the mean, or None.
        notes: What must be known to read the numbers.
        resamples: Draws of images for the intervals.
        seed: Seed of these draws.
    """

    protocol: Protocol
    asked: Protocol
    scores: Scores
    headline: float
    num_averaged: int
    sides: Sides | None
    split_means: tuple[float, float, float] | None
    names: tuple[str, ...]
    margins: ImageMargins
    counts: ImageCounts
    num_images: int
    imagenet_s: ImageNetSScores | None
    notes: tuple[str, ...]
    resamples: int
    seed: int

    @property
    def metric(self) -> Metric:
        """Return the name of the headline."""
        return AVERAGES[self.asked.averaging]

    @cached_property
    def intervals(self) -> Intervals:
        """Compute 95 % over images: headline, then seen, unseen and harmonic mean where there is a split.

        NaN where there is only one image. Drawn when first read.
        """
        num_means = 4 if self.sides else 1
        exists = 1.0 if self.num_images > 1 else np.nan
        return Intervals(
            low=self._spread.low[:num_means] * exists, high=self._spread.high[:num_means] * exists
        )

    @cached_property
    def class_intervals(self) -> Intervals:
        """Compute 95 % over images of each class's IoU; NaN for a class that only one image has."""
        return class_intervals(self.margins, self._spread, len(self.names))

    @cached_property
    def _spread(self) -> Intervals:
        statistic = make_statistic(self.asked, self.sides)
        return intervals(self.margins, len(self.names), statistic, resamples=self.resamples, seed=self.seed)


def score(
    counter: StoreCounter,
    asked: Protocol,
    *,
    threshold: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> ProtocolScores:
    """Score a store under one protocol.

    Args:
        counter: Counts of the store.
        asked: The protocol.
        threshold: Decide background by this threshold instead of as it was predicted.
        resamples: Draws of the bootstrap.
        seed: Of the draws.

    Raises:
        DatasetError: The data set has other classes than the protocol.
        InputError: No pixel is scored.
    """
    classes, manifest = counter.classes, counter.store.manifest
    check_classes(asked, classes)
    ignores = asked.true_background == "ignored"
    drops = ignores and counter.background is not None and threshold is None
    again = Redecided(drop_background=drops, threshold=threshold)
    settings: dict[str, Any] = dict(manifest.settings)
    notes = _benchmark_notes(asked, manifest, len(counter.stems))
    if threshold is not None:
        settings |= {"background": "threshold", "threshold": threshold}
        notes.append(f"background decided again at {threshold:g} from the stored scores")
    if again.drop_background:
        settings["background"] = "none"
        notes.append("what was called background is given to the next best class, from the stored scores")
    followed = effective_protocol(asked, settings, manifest.to_vocabulary(), classes)
    if threshold is not None:
        followed = followed.changed(background="threshold", threshold=threshold)
    notes = [f"not applied by this run: {STEPS.get(step, step)}" for step in followed.not_applied] + notes
    notes += [f"not known of the source: {what}" for what in asked.unknown]
    labels = [label for label in range(len(classes)) if not (ignores and label == classes.background)]
    counts = _scored_labels(counter.counts(asked.boundary, again), labels)
    margins = counts.margins(len(labels))
    sides = _sides(asked, classes, labels)
    statistic = make_statistic(asked, sides)
    pixels = np.zeros((3, len(labels)), np.int64)
    np.add.at(pixels.T, margins.label, margins.amounts)
    seen, unseen = sides or (None, None)
    scores = scores_of_pixels(pixels[0], pixels[1], pixels[2], seen, unseen)
    values = statistic(pixels)
    return ProtocolScores(
        protocol=followed,
        asked=asked,
        scores=scores,
        headline=float(values[0]),
        num_averaged=int(_averaged(asked, pixels).sum()),
        sides=sides,
        split_means=(float(values[1]), float(values[2]), float(values[3])) if sides else None,
        names=tuple(classes.names[label] for label in labels),
        margins=margins,
        counts=counts,
        num_images=counts.num_images,
        imagenet_s=imagenet_s_scores(counts, len(labels)) if asked.imagenet_s else None,
        notes=tuple(notes),
        resamples=resamples,
        seed=seed,
    )


def _benchmark_notes(protocol: Protocol, manifest: Manifest, num_images: int) -> list[str]:
    """Say where the images are not, or not surely, those that the protocol is published for."""
    if not protocol.datasets:
        return []
    name, facts = manifest.opened_with.get("dataset"), dataset_facts(protocol.datasets[0])
    differing = [] if name in protocol.datasets else [f"data set {name or 'not recorded'}"]
    if manifest.split != facts.default_split:
        differing.append(f"split {manifest.split or 'none'}")
    if num_images not in facts.splits[facts.default_split]:
        differing.append(f"{num_images:,} images")
    if not differing:
        return []
    return [f"not the images of its benchmark ({protocol.benchmark}): {', '.join(differing)}"]


def class_intervals(margins: ImageMargins, spread: Intervals, num_classes: int) -> Intervals:
    """Take the classes' part of intervals; a class in a single image has none, for nothing varies."""
    alone = np.bincount(margins.label, minlength=num_classes) < 2
    low, high = (np.where(alone, np.nan, ends[-num_classes:]) for ends in (spread.low, spread.high))
    return Intervals(low=low, high=high)


def make_statistic(protocol: Protocol, sides: Sides | None) -> Statistic:
    """Make the function from summed pixels to headline, (seen, unseen, harmonic) and each class's IoU."""
    parts = () if sides is None else tuple(np.asarray(sorted(side)) for side in sides)

    def compute(pixels: Int64[np.ndarray, "3 K"]) -> Float64[np.ndarray, " S"]:
        iou = iou_of_pixels(*pixels)
        averaged = _averaged(protocol, pixels)
        means = [_mean(iou[averaged])]
        for part in parts:
            undefined = protocol.absent_unseen == "undefined" and not (pixels[0][part] > 0).all()
            means.append(float("nan") if undefined else _mean(iou[part][averaged[part]]))
        if parts:
            means.append(harmonic_mean(means[1], means[2]))
        return np.concatenate([means, iou])

    return compute


def _mean(iou: Float64[np.ndarray, " A"]) -> float:
    return float(np.nan_to_num(iou).mean()) if iou.size else float("nan")


def _scored_labels(counts: ImageCounts, labels: list[int]) -> ImageCounts:
    """Number the scored classes from zero; a background that is not scored is void, or a miss."""
    table = np.full(65536, IGNORE_INDEX, np.uint16)
    table[labels] = np.arange(len(labels))
    table[OUTSIDE] = OUTSIDE
    return counts.relabelled(table, table)


def _sides(protocol: Protocol, classes: Vocabulary, labels: list[int]) -> Sides | None:
    if protocol.unseen:
        keys = set(map(spelling_key, protocol.unseen))
        unseen = {label for label, name in enumerate(classes.names) if spelling_key(name) in keys}
    elif classes.seen is not None:
        unseen = set(range(len(classes))) - classes.seen
    else:
        return None
    places = frozenset(place for place, label in enumerate(labels) if label in unseen)
    return frozenset(range(len(labels))) - places, places


def _averaged(protocol: Protocol, pixels: Int64[np.ndarray, "3 K"]) -> Bool[np.ndarray, " K"]:
    """Return which classes are averaged."""
    match protocol.averaging:
        case "occurs":
            return pixels[0] > 0
        case "all":
            return np.ones(pixels.shape[1], bool)
        case _:
            return pixels[0] + pixels[1] > 0
