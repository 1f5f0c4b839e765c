"""The numbers of the ImageNet-S evaluator (Gao et al., TPAMI 2022), from per-image counts.

Label 0 is "other" and is a class like any: the mean goes over N + 1 entries, and one that never
occurs counts 0. Void pixels (1000 in the files, 65535 here) are dropped.
"""

from dataclasses import dataclass

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.metrics.image_counts import ImageCounts
from lexiseg.metrics.iou import Metric, iou_of_pixels

#: Upper ends of the object-size bins, in per cent of the image.
SIZES = (5, 25, 50, 100)

#: Weight of precision in the F-measure.
BETA_SQUARED = 0.3

#: What is printed beside the mean.
METRICS = (
    Metric("image_accuracy", "image accuracy", "images"),
    Metric("f_measure", "F-measure", "images"),
    Metric("mean_iou_by_size", "IoU by size", "classes that occur in each bin of object sizes"),
)

_EPSILON = 1e-10  # in the evaluator's denominators


@dataclass(frozen=True, kw_only=True)
class ImageNetSScores:
    """What the evaluator prints, as fractions in [0, 1].

    Attributes:
        mean_iou: Mean over the N classes and other, absent ones 0.
        image_accuracy: Images whose largest predicted class, other left aside, is in the truth.
        f_measure: F-measure of foreground against other, with weight 0.3, averaged over images.
        mean_iou_by_size: Mean IoU of images with foreground up to 5, 25, 50 and 100 % of the image
            (rounded up to whole per cents); classes absent from the bin are skipped; NaN for an empty bin.
    """

    mean_iou: float
    image_accuracy: float
    f_measure: float
    mean_iou_by_size: tuple[float, float, float, float]


def imagenet_s_scores(counts: ImageCounts, num_classes: int) -> ImageNetSScores:
    """Compute the evaluator's numbers.

    The boundary mean IoU is not among them: count bands of 3 % with ``metrics.boundary`` and average alike.

    Args:
        counts: Pairs of labels 0 (other) to N; predictions of 65535 count as other.
        num_classes: N + 1.

    Raises:
        InputError: No image was counted.
    """
    if counts.num_images == 0:
        raise InputError(
            doing="computing ImageNet-S scores",
            found="no image",
            expected="at least one",
            fix="Predict some images first.",
        )
    scored = counts.true != IGNORE_INDEX
    image, true, pixels = counts.image[scored], counts.true[scored], counts.pixels[scored]
    predicted = np.where(counts.predicted[scored] == IGNORE_INDEX, 0, counts.predicted[scored])

    def per_image(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(image[chosen], pixels[chosen], counts.num_images)

    both = per_image((true > 0) & (predicted > 0))
    precision = both / (per_image(predicted > 0) + _EPSILON)
    recall = both / (per_image(true > 0) + _EPSILON)
    f_measure = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall + _EPSILON)
    share = np.ceil(100 * per_image(true > 0) / np.maximum(per_image(true >= 0), 1))
    size_bin = np.searchsorted(SIZES, share)
    by_size = []
    for index in range(len(SIZES)):
        inside = size_bin[image] == index
        iou = _iou(true[inside], predicted[inside], pixels[inside], num_classes)
        by_size.append(float(np.nanmean(iou)) if inside.any() else float("nan"))
    return ImageNetSScores(
        mean_iou=float(np.nan_to_num(_iou(true, predicted, pixels, num_classes)).mean()),
        image_accuracy=_image_accuracy(image, true, predicted, pixels, counts.num_images),
        f_measure=float(f_measure.mean()),
        mean_iou_by_size=(by_size[0], by_size[1], by_size[2], by_size[3]),
    )


def _iou(true: np.ndarray, predicted: np.ndarray, pixels: np.ndarray, num_classes: int) -> np.ndarray:
    sums = [
        np.bincount(labels, amounts, num_classes).astype(np.int64)
        for labels, amounts in (
            (true, pixels),
            (predicted, pixels),
            (true[true == predicted], pixels[true == predicted]),
        )
    ]
    return iou_of_pixels(sums[0], sums[1], sums[2])


def _image_accuracy(
    image: np.ndarray, true: np.ndarray, predicted: np.ndarray, pixels: np.ndarray, num_images: int
) -> float:
    """Count images whose largest non-zero predicted class occurs in the truth; one without any is wrong."""
    right = 0
    for index in range(num_images):
        here = image == index
        found = np.bincount(predicted[here], pixels[here], 1)
        found[0] = 0
        right += bool(found.max() > 0) and int(found.argmax()) in true[here]
    return right / num_images
