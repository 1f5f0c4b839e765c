"""ImageCounts: how many pixels of each image have which (true, predicted) pair of labels.

A few dozen numbers an image, from which every score, every protocol and every bootstrap resample
follows without looking at a pixel again. They are counted from runs (``core.row_rle``): the two
run lists are walked side by side, so that the time depends on the number of regions and not of
pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Int64, UInt16

from lexiseg.core.compiled import njit
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.row_rle import LabelRuns
from lexiseg.metrics.confusion import ConfusionMatrix

#: True label of scored pixels that no class can win, only lose: pixels off the border in ``boundary``.
OUTSIDE = 65534

_FIRST_TABLE = 1024  # slots; grows by four until half of it suffices


class PairCounts(NamedTuple):
    """Pairs of one image: ``pixels[i]`` pixels have truth ``true[i]`` and prediction ``predicted[i]``."""

    true: UInt16[np.ndarray, " P"]
    predicted: UInt16[np.ndarray, " P"]
    pixels: Int64[np.ndarray, " P"]


def count_runs(true: LabelRuns, predicted: LabelRuns) -> PairCounts:
    """Count the label pairs of one image, void (65535) like any label; releases the interpreter lock.

    Raises:
        InputError: The two do not cover the same number of pixels.
    """
    size = _FIRST_TABLE
    while True:
        keys, pixels = np.full(size, -1, np.int64), np.zeros(size, np.int64)
        done = _count(true.labels, true.lengths, predicted.labels, predicted.lengths, keys, pixels)
        if done >= 0:
            break
        size *= 4
    if done > 0:
        raise InputError(
            doing="comparing a prediction with its truth",
            found=f"{int(predicted.lengths.sum(dtype=np.int64)):,} predicted and "
            f"{int(true.lengths.sum(dtype=np.int64)):,} true pixels",
            expected="two label maps of the same size",
            fix="Predict at the image's original size.",
        )
    filled = np.flatnonzero(keys >= 0)
    order = filled[np.argsort(keys[filled])]
    return PairCounts(
        (keys[order] >> 16).astype(np.uint16), (keys[order] & 0xFFFF).astype(np.uint16), pixels[order]
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageCounts:
    """Label pairs of many images, one image after the other.

    Attributes:
        image: Index of the image of each entry, ascending.
        true: True label; 65535 = void.
        predicted: Predicted label; 65535 = no class.
        pixels: How many pixels of that image have this pair.
        num_images: Images counted, those without an entry included.
    """

    image: Int64[np.ndarray, " E"]
    true: UInt16[np.ndarray, " E"]
    predicted: UInt16[np.ndarray, " E"]
    pixels: Int64[np.ndarray, " E"]
    num_images: int

    @classmethod
    def join(cls, images: Sequence[PairCounts]) -> "ImageCounts":
        """Put the pairs of images together, in the order given."""
        sizes = [pairs.pixels.size for pairs in images]
        empty = PairCounts(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.int64))
        parts = [*images, empty]
        return cls(
            image=np.repeat(np.arange(len(images)), sizes),
            true=np.concatenate([pairs.true for pairs in parts]),
            predicted=np.concatenate([pairs.predicted for pairs in parts]),
            pixels=np.concatenate([pairs.pixels for pairs in parts]),
            num_images=len(images),
        )

    def relabelled(
        self, true: UInt16[np.ndarray, " 65536"], predicted: UInt16[np.ndarray, " 65536"]
    ) -> "ImageCounts":
        """Look every label up in a table: how class lists are matched and backgrounds dropped."""
        return replace(self, true=true[self.true], predicted=predicted[self.predicted])

    def confusion(self, num_classes: int) -> ConfusionMatrix:
        """Sum over all images.

        Raises:
            InputError: A label is neither below ``num_classes`` nor 65535.
        """
        confusion = ConfusionMatrix(num_classes)
        confusion.add_pairs(self.true, self.predicted, self.pixels)
        return confusion

    def margins(self, num_classes: int) -> "ImageMargins":
        """Return what scores need of every image: true, predicted and correct pixels of its classes."""
        scored = self.true != IGNORE_INDEX
        image, true, predicted, pixels = (
            part[scored] for part in (self.image, self.true, self.predicted, self.pixels)
        )
        has_class = predicted != IGNORE_INDEX
        correct = true == predicted
        inside = true != OUTSIDE
        columns = [
            (image[inside], true[inside], pixels[inside]),
            (image[has_class], predicted[has_class], pixels[has_class]),
        ]
        columns.append((image[correct], true[correct], pixels[correct]))
        keys = [part[0] * num_classes + part[1] for part in columns]
        cells, place = np.unique(np.concatenate(keys), return_inverse=True)
        amounts = np.zeros((cells.size, 3), np.int64)
        start = 0
        for kind, (_, _, values) in enumerate(columns):
            np.add.at(amounts[:, kind], place[start : start + values.size], values)
            start += values.size
        return ImageMargins(
            image=cells // num_classes, label=cells % num_classes, amounts=amounts, num_images=self.num_images
        )


class ImageMargins(NamedTuple):
    """Per image and class: true, predicted and correct pixels; classes an image has nothing of are absent.

    Attributes:
        image: Index of the image of each row, ascending.
        label: Class index.
        amounts: True, predicted and correct pixels.
        num_images: All images, those without a row included.
    """

    image: Int64[np.ndarray, " E"]
    label: Int64[np.ndarray, " E"]
    amounts: Int64[np.ndarray, "E 3"]
    num_images: int


# The kernel carries no_type_check, or the tests' shape checker would wrap it and numba could not cache it.
@njit(cache=True, nogil=True)
@no_type_check
def _count(true_labels, true_lengths, predicted_labels, predicted_lengths, keys, pixels):
    """Fill a hash table; give 0, -1 when it is more than half full, 1 when the pixels differ in number."""
    mask = keys.size - 1
    used = 0
    t = p = 0
    left_t = np.int64(true_lengths[0]) if true_lengths.size else np.int64(0)
    left_p = np.int64(predicted_lengths[0]) if predicted_lengths.size else np.int64(0)
    while t < true_labels.size and p < predicted_labels.size:
        key = (np.int64(true_labels[t]) << 16) | np.int64(predicted_labels[p])
        amount = min(left_t, left_p)
        slot = ((key * 0x9E3779B1) >> 15) & mask
        while keys[slot] != key:
            if keys[slot] == -1:
                if 2 * (used + 1) > keys.size:
                    return -1
                keys[slot] = key
                used += 1
                break
            slot = (slot + 1) & mask
        pixels[slot] += amount
        left_t -= amount
        left_p -= amount
        if left_t == 0:
            t += 1
            left_t = np.int64(true_lengths[t]) if t < true_lengths.size else np.int64(0)
        if left_p == 0:
            p += 1
            left_p = np.int64(predicted_lengths[p]) if p < predicted_lengths.size else np.int64(0)
    return 0 if t == true_labels.size and p == predicted_labels.size else 1
