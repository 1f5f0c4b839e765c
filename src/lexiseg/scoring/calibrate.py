"""Choose the background threshold on a training split, from a predictions store.

A threshold that was chosen on the images it is then scored on makes a number that means nothing,
so stores of a test or validation split are refused.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.row_rle import decode_runs, encode_runs
from lexiseg.scoring.protocol import Protocol, check_classes
from lexiseg.scoring.score import make_statistic
from lexiseg.scoring.store.counts import StoreCounter, best_scores, refuse_redecision, without_background
from lexiseg.scoring.store.predictions import Predictions

#: Thresholds tried: this many quantiles of the scores of all pixels.
STEPS = 64

#: Words in the name of a split that is kept for scoring.
_HELD_OUT = {
    "val", "valid", "validation", "minival", "test", "testing", "dev", "devel", "eval", "evaluation", "holdout", "heldout",
}  # fmt: skip

#: Words in the name of a split that holds such images among others.
_MIXED = {"trainval": "val", "traintest": "test", "traindev": "dev", "all": "val and test"}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Mean IoU at every threshold tried.

    Attributes:
        thresholds: Ascending, on the model's own score scale; the first leaves no background.
        mean_iou: At each of them.
        best: The threshold with the highest mean IoU; the middle one of equal neighbours.
        split: Where it was chosen.
        num_images: How many images that was.
    """

    thresholds: tuple[float, ...]
    mean_iou: tuple[float, ...]
    best: float
    split: str
    num_images: int


def calibrate(
    store: Predictions, protocol: Protocol, *, partial: bool = False, threads: int = 2
) -> Calibration:
    """Sweep the background threshold over the images of a store.

    Args:
        store: Predictions of a training split, with scores.
        protocol: Whose mean is to be highest; background must be one of its classes.
        partial: Take a store that lacks images.
        threads: Images at a time.

    Raises:
        InputError: The split is not for training, or background is not scored.
        DatasetError: The store lacks images, has no scores, or other classes than the protocol.
    """
    classes = store.manifest.data_vocabulary()
    _refuse_held_out(store)
    refuse_redecision(store, "threshold")
    store.refuse_missing("choosing a background threshold on", partial=partial)
    check_classes(protocol, classes)
    if classes.background is None or protocol.true_background == "ignored":
        raise InputError(
            doing=f"choosing a background threshold for {protocol.name}",
            found="no background among the scored classes",
            expected="a data set and a protocol that score background",
            fix="Without background there is nothing to choose: score with --background none.",
        )
    counter = StoreCounter(store)
    asked_background = -1 if counter.background is None else counter.background
    edges = _thresholds(store, asked_background)

    def count(stem: str) -> Int64[np.ndarray, "B 3 K"]:
        image = store[stem]
        labels = without_background(image, asked_background)
        level = np.searchsorted(edges, best_scores(image, labels), side="right")
        runs = encode_runs(labels)
        called = decode_runs(runs._replace(labels=counter.to_classes(stem, runs.labels)), image.size)
        return _by_level(decode_runs(counter.truth(image), image.size), called, level, len(classes))

    total = np.zeros((len(edges) + 1, 3, len(classes)), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(count, counter.stems):
            total += found
    statistic = make_statistic(protocol, None)
    means = []
    for index in range(len(edges)):  # levels up to ``index`` score less than this threshold
        below, above = total[: index + 1].sum(0), total[index + 1 :].sum(0)
        pixels = np.stack([below[0] + above[0], above[1], above[2]])
        pixels[1, classes.background] += below[0].sum()
        pixels[2, classes.background] += below[0, classes.background]
        means.append(float(statistic(pixels)[0]))
    top = np.flatnonzero(np.asarray(means) == max(means))
    return Calibration(
        thresholds=tuple(float(edge) for edge in edges),
        mean_iou=tuple(means),
        best=float(edges[top[len(top) // 2]]),
        split=str(store.manifest.split),
        num_images=len(store),
    )


def _by_level(
    true: UInt16[np.ndarray, "H W"],
    called: UInt16[np.ndarray, "H W"],
    level: Int64[np.ndarray, "H W"],
    num_classes: int,
) -> Int64[np.ndarray, "B 3 K"]:
    """Count true, called and correct pixels of every class among pixels of every score level."""
    scored = true != IGNORE_INDEX
    kinds = (scored, scored & (called != IGNORE_INDEX), scored & (called == true))
    parts = []
    for chosen, labels in zip(kinds, (true, called, true), strict=True):
        keys = level[chosen] * num_classes + labels[chosen]
        parts.append(np.bincount(keys, minlength=(STEPS + 1) * num_classes).reshape(STEPS + 1, num_classes))
    return np.stack(parts, axis=1)


def _thresholds(store: Predictions, background: int) -> Float32[np.ndarray, " B"]:
    """Take quantiles of the best scores on the grid, background left aside."""
    samples = []
    for image in store:
        if image.top is not None:
            labels, scores = image.top
            best = np.where(labels[0] == background, scores[min(1, len(scores) - 1)], scores[0]).ravel()
            samples.append(best[:: max(1, best.size // 1000)].astype(np.float32))
    if not samples:
        raise DatasetError(
            doing=f"choosing a background threshold from {store.title}",
            found="no scores in the store",
            expected="the best scores of every grid point",
            fix="Run lexiseg predict into a new store with --top 5.",
        )
    return np.quantile(np.concatenate(samples), np.linspace(0, 1, STEPS)).astype(np.float32)


def _refuse_held_out(store: Predictions) -> None:
    split = store.manifest.split
    words = re.findall("[a-z]+", (split or "").lower())
    mixed = [f"which contains the images of {_MIXED[word]}" for word in words if word in _MIXED]
    if split is None or mixed or not _HELD_OUT.isdisjoint(words):
        found = "all images of a folder" if split is None else ", ".join([f"the split {split!r}", *mixed])
        raise InputError(
            doing="choosing a background threshold",
            found=f"a store of {found}",
            expected="a training split, or the threshold would be fitted to the images it is scored on",
            fix="lexiseg predict MODEL --data FOLDER --split train --out STORE, then calibrate on that store.",
        )
