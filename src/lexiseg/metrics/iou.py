"""Scores: every number that follows from a confusion matrix, in [0, 1].

Publications average IoU over different sets of classes, and a class that never occurs decides
which is higher, so all three means are given, each under its own name:

- ``mean_iou``: classes that occur or are predicted (mmsegmentation; older detectron2 evaluators);
- ``mean_iou_present``: classes that occur in the truth (detectron2);
- ``mean_iou_all``: all classes, those without a pixel as 0 (ImageNet-S).

``METRICS`` is the one place where names of scores stand: JSON, tables and pages read it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from lexiseg.core.errors import InputError
from lexiseg.metrics.confusion import ConfusionMatrix


class Metric(NamedTuple):
    """A score and its names.

    Attributes:
        key: Field of ``Scores``, and key in JSON.
        title: Name in tables and images.
        over: What is averaged.
        convention: Library whose mean it is, or an empty text.
    """

    key: str
    title: str
    over: str
    convention: str = ""


_EITHER = "classes that occur or are predicted; a class that is only predicted counts 0"

#: The scores that every data set has.
METRICS = (
    Metric("mean_iou", "mean IoU", _EITHER, "mmseg"),
    Metric("mean_iou_present", "mean IoU", "classes that occur in the truth", "detectron2"),
    Metric("mean_iou_all", "mean IoU", "all classes, those without any pixel as 0", "ImageNet-S"),
    Metric("pixel_accuracy", "pixel accuracy", "pixels"),
    Metric("mean_accuracy", "mean accuracy", "per-class accuracy over classes that occur"),
    Metric("frequency_weighted_iou", "frequency-weighted IoU", "classes that occur, weighted by true pixels"),
)

#: The scores of a data set whose classes are split into seen and unseen ones.
SPLIT_METRICS = (
    Metric("seen_mean_iou", "seen", "seen classes, averaged as the protocol averages all"),
    Metric("unseen_mean_iou", "unseen", "unseen classes, from the same predictions"),
    Metric("harmonic_iou", "harmonic", "harmonic mean of these two, from unrounded values"),
)

#: Which of the means a way to average gives.
AVERAGES = {"occurs_or_predicted": METRICS[0], "occurs": METRICS[1], "all": METRICS[2]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a data set scored. Fractions in [0, 1]; NaN where nothing defines a value.

    Attributes:
        iou: Correct pixels of each class over those that are it or were called it; NaN for a class
            that neither occurs nor is predicted.
        accuracy: Correct pixels of each class over its true pixels; NaN for a class that does not occur.
        true_pixels: Scored pixels of each class.
        predicted_pixels: Scored pixels predicted as each class.
        mean_iou: Mean IoU over classes that occur or are predicted.
        mean_iou_present: Mean IoU over classes that occur.
        mean_iou_all: Mean IoU over all classes, NaN as 0.
        pixel_accuracy: Correct pixels over scored pixels.
        mean_accuracy: Mean accuracy over classes that occur.
        frequency_weighted_iou: Mean IoU weighted by true pixels.
        seen: Classes that had masks in training, or None where there is no split.
        unseen: The other side of the split.
        seen_mean_iou: Mean IoU over seen classes that occur or are predicted; None without a split.
        unseen_mean_iou: Mean IoU over unseen classes, from the same predictions.
        harmonic_iou: Harmonic mean of these two, from unrounded values.
    """

    iou: Float64[np.ndarray, " K"]
    accuracy: Float64[np.ndarray, " K"]
    true_pixels: Int64[np.ndarray, " K"]
    predicted_pixels: Int64[np.ndarray, " K"]
    mean_iou: float
    mean_iou_present: float
    mean_iou_all: float
    pixel_accuracy: float
    mean_accuracy: float
    frequency_weighted_iou: float
    seen: frozenset[int] | None = None
    unseen: frozenset[int] | None = None
    seen_mean_iou: float | None = None
    unseen_mean_iou: float | None = None
    harmonic_iou: float | None = None


def compute_scores(
    confusion: ConfusionMatrix, seen: frozenset[int] | None = None, unseen: frozenset[int] | None = None
) -> Scores:
    """Compute all scores from the counts of one data set.

    Args:
        confusion: Counts over the whole data set, all classes predicted in one run.
        seen: Classes that had masks in training.
        unseen: The other side of the split; all classes that are not seen where left out. Without
            ``seen`` it has no meaning.

    Raises:
        InputError: No pixel was scored, or the split names a class that does not exist.
    """
    pixels = confusion.true_pixels, confusion.predicted_pixels, confusion.correct_pixels
    return scores_of_pixels(*pixels, seen, unseen)


def scores_of_pixels(
    true: Int64[np.ndarray, " K"],
    predicted: Int64[np.ndarray, " K"],
    correct: Int64[np.ndarray, " K"],
    seen: frozenset[int] | None = None,
    unseen: frozenset[int] | None = None,
) -> Scores:
    """Compute all scores from each class's true, predicted and correct pixels; see ``compute_scores``.

    Raises:
        InputError: No pixel was scored, or the split names a class that does not exist.
    """
    if not true.any():
        raise InputError(
            doing="computing scores",
            found="no scored pixel: no label map was counted, or all of their pixels are void",
            expected="at least one pixel with a true class",
            fix="Check that the label files belong to this vocabulary and are not all void.",
        )
    classes = frozenset(range(true.size))
    if seen is not None and unseen is None:
        unseen = classes - seen
    strangers = ((seen or frozenset()) | (unseen or frozenset())) - classes
    if strangers:
        raise InputError(
            doing="computing scores of seen and unseen classes",
            found=f"classes {sorted(strangers)}",
            expected=f"indices from 0 to {true.size - 1}",
            fix="Take seen from the vocabulary that was scored.",
        )
    iou = iou_of_pixels(true, predicted, correct)
    accuracy = _ratio(correct, true)
    occurs = true > 0
    seen_mean = unseen_mean = harmonic = None
    if seen is not None and unseen is not None:
        seen_mean, unseen_mean = _mean(iou[sorted(seen)]), _mean(iou[sorted(unseen)])
        harmonic = harmonic_mean(seen_mean, unseen_mean)
    return Scores(
        iou=iou,
        accuracy=accuracy,
        true_pixels=true,
        predicted_pixels=predicted,
        mean_iou=_mean(iou),
        mean_iou_present=_mean(iou[occurs]),
        mean_iou_all=float(np.nan_to_num(iou).mean()),
        pixel_accuracy=float(correct.sum() / true.sum()),
        mean_accuracy=_mean(accuracy),
        frequency_weighted_iou=float((true[occurs] * iou[occurs]).sum() / true.sum()),
        seen=seen,
        unseen=unseen if seen is not None else None,
        seen_mean_iou=seen_mean,
        unseen_mean_iou=unseen_mean,
        harmonic_iou=harmonic,
    )


def iou_of_pixels(
    true: Int64[np.ndarray, " K"], predicted: Int64[np.ndarray, " K"], correct: Int64[np.ndarray, " K"]
) -> Float64[np.ndarray, " K"]:
    """Divide correct pixels by those that are the class or were called it; NaN where there are none."""
    return _ratio(correct, true + predicted - correct)


def harmonic_mean(first: float, second: float) -> float:
    """Compute ``2ab / (a + b)``: 0 if both are 0, NaN if one is NaN."""
    return 0.0 if first + second == 0 else 2 * first * second / (first + second)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    """Average the values that are not NaN; NaN where there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
