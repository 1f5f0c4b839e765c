"""ConfusionMatrix: true against predicted classes, counted over a whole data set.

Pixels whose truth is void (65535) are dropped, and what was predicted there with them. A predicted
void on a scored pixel is a miss: it is counted in an extra last column "no class", so that it
enlarges the true pixels of its class but no class's predicted pixels.
"""

import numpy as np
from jaxtyping import Int64, UInt16

from lexiseg.core.constants import IGNORE_INDEX, MAX_CLASSES
from lexiseg.core.errors import InputError
from lexiseg.metrics.pair_counts import count_margins, count_pairs

#: Up to here the whole matrix is kept (at most 34 MB). Above, only what every score of
#: ``metrics.iou`` needs: row sums, column sums and diagonal (the matrix of 10,000 classes would
#: take 800 MB and be almost empty).
MAX_MATRIX_CLASSES = 2048

_MAX_RECENT = 2**31 - 1


class ConfusionMatrix:
    """Counts of (true, predicted) class pairs over any number of label maps.

    One matrix a data set: scores of single images must never be averaged. To count on several
    threads or machines, give each its own matrix and ``merge`` them: sums of integers, so the
    order does not matter. ``update`` releases the interpreter lock.

    Args:
        num_classes: Labels are 0 to ``num_classes - 1``.
    """

    def __init__(self, num_classes: int) -> None:
        if not 0 < num_classes <= MAX_CLASSES:
            raise InputError(
                doing="making a confusion matrix",
                found=f"{num_classes} classes",
                expected=f"1 to {MAX_CLASSES}",
                fix="Give the length of the vocabulary.",
            )
        self.num_classes = num_classes
        num_pairs = (num_classes + 1) ** 2 if self.has_matrix else 0  # void is row and column K
        self._counts = np.zeros(num_pairs, np.int64)
        self._recent = np.zeros(num_pairs, np.int32)  # half as wide is faster; emptied before it can overflow
        self._num_recent = 0
        self._margins = np.zeros((3, 0 if self.has_matrix else num_classes + 1), np.int64)

    @property
    def has_matrix(self) -> bool:
        """Whether single pairs are counted, not only the sums that scores need."""
        return self.num_classes <= MAX_MATRIX_CLASSES

    def update(
        self,
        label_map_true: UInt16[np.ndarray, "H W"],
        label_map_predicted: UInt16[np.ndarray, "H_predicted W_predicted"],
    ) -> None:
        """Count the pixels of one image.

        Args:
            label_map_true: Class index per pixel; 65535 = void, not scored.
            label_map_predicted: Label map of the same size; 65535 = no class, a miss.

        Raises:
            InputError: Sizes differ, the type is not uint16, or a label is neither below
                ``num_classes`` nor 65535. The matrix is then as it was before the call.
        """
        true = _flat(label_map_true, "truth")
        predicted = _flat(label_map_predicted, "prediction")
        if label_map_true.shape != label_map_predicted.shape:
            raise InputError(
                doing="comparing a prediction with its truth",
                found="a prediction of {}×{} and a truth of {}×{} (height × width)".format(
                    *label_map_predicted.shape, *label_map_true.shape
                ),
                expected="two label maps of the same size",
                fix="Score at the truth's size: resize class scores to it, then take the best class.",
            )
        bad = self._count(true, predicted, 1)
        if bad >= 0:
            self._count(true[:bad], predicted[:bad], -1)  # take back what was counted before it
            raise self._out_of_range(true, predicted)

    def add_pairs(
        self,
        true: UInt16[np.ndarray, " P"],
        predicted: UInt16[np.ndarray, " P"],
        pixels: Int64[np.ndarray, " P"],
    ) -> None:
        """Add counts made elsewhere: ``pixels[i]`` pixels of truth ``true[i]`` predicted ``predicted[i]``.

        Raises:
            InputError: A label is neither below ``num_classes`` nor 65535; nothing is then added.
        """
        if self._wrong(true).size or self._wrong(predicted).size:
            raise self._out_of_range(true, predicted)
        # Void becomes the last row or column.
        rows = np.minimum(true, self.num_classes).astype(np.int64)
        columns = np.minimum(predicted, self.num_classes).astype(np.int64)
        if self.has_matrix:
            np.add.at(self._counts, rows * (self.num_classes + 1) + columns, pixels)
            return
        # Without a matrix: true, predicted and correct pixels of every class.
        scored = rows < self.num_classes
        np.add.at(self._margins[0], rows[scored], pixels[scored])
        np.add.at(self._margins[1], columns[scored], pixels[scored])
        correct = scored & (rows == columns)
        np.add.at(self._margins[2], rows[correct], pixels[correct])

    def _count(self, true: np.ndarray, predicted: np.ndarray, step: int) -> int:
        if not self.has_matrix:
            return int(count_margins(true, predicted, self.num_classes, self._margins, step))
        # Recent counts are 32 bits wide: move them over before one can overflow.
        if self._num_recent + true.size > _MAX_RECENT:
            self._collect()
        self._num_recent += true.size
        return int(count_pairs(true, predicted, self.num_classes, self._recent, step))

    def _collect(self) -> np.ndarray:
        self._counts += self._recent
        self._recent[:] = 0
        self._num_recent = 0
        return self._counts

    @property
    def matrix(self) -> Int64[np.ndarray, "K K+1"]:
        """Pixels of true class (row) predicted as class (column); the last column is "no class"."""
        if not self.has_matrix:
            raise InputError(
                doing="reading the confusion matrix",
                found=f"{self.num_classes} classes, of which only sums were counted",
                expected=f"at most {MAX_MATRIX_CLASSES} classes for the whole matrix",
                fix="Use true_pixels, predicted_pixels and correct_pixels: all scores follow from them.",
            )
        return self._collect().reshape(self.num_classes + 1, self.num_classes + 1)[:-1].copy()

    @property
    def true_pixels(self) -> Int64[np.ndarray, " K"]:
        """Scored pixels of each true class."""
        return self.matrix.sum(1) if self.has_matrix else self._margins[0, :-1].copy()

    @property
    def predicted_pixels(self) -> Int64[np.ndarray, " K"]:
        """Scored pixels predicted as each class."""
        return self.matrix.sum(0)[:-1] if self.has_matrix else self._margins[1, :-1].copy()

    @property
    def correct_pixels(self) -> Int64[np.ndarray, " K"]:
        """Scored pixels of each class predicted as that class."""
        return self.matrix.diagonal().copy() if self.has_matrix else self._margins[2, :-1].copy()

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Add the counts of ``other`` and return this matrix.

        Raises:
            InputError: The numbers of classes differ.
        """
        if other.num_classes != self.num_classes:
            raise InputError(
                doing="merging confusion matrices",
                found=f"{self.num_classes} and {other.num_classes} classes",
                expected="the same classes in both",
                fix="Score every part of the data set with the same vocabulary.",
            )
        self._counts += other._collect()
        self._margins += other._margins
        return self

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        return ConfusionMatrix(self.num_classes).merge(self).merge(other)

    def _out_of_range(self, true: np.ndarray, predicted: np.ndarray) -> InputError:
        name, wrong = "truth", self._wrong(true)
        if not wrong.size:
            name, wrong = "prediction", self._wrong(predicted)
        values = np.unique(wrong)
        shown = ", ".join(str(value) for value in values[:5]) + (", …" if values.size > 5 else "")
        hint = "255 is void in 8-bit label files: read them with data.label_files, which turns it into 65535."
        if 255 not in values:
            hint = "Check that both maps index this vocabulary; labels one too high need reduce_zero_label."
        return InputError(
            doing="counting a confusion matrix",
            found=f"{wrong.size:,} pixels of the {name} with label {shown}",
            expected=f"0 to {self.num_classes - 1} for {self.num_classes} classes, or 65535 for void",
            fix=hint,
        )

    def _wrong(self, labels: np.ndarray) -> np.ndarray:
        return labels[(labels >= self.num_classes) & (labels != IGNORE_INDEX)]


def _flat(label_map: np.ndarray, name: str) -> np.ndarray:
    if label_map.dtype != np.uint16:
        raise InputError(
            doing="counting a confusion matrix",
            found=f"a {name} of type {label_map.dtype}",
            expected="a label map of type uint16 with 65535 = void",
            fix="Turn void into 65535 first, then call .astype(numpy.uint16).",
        )
    return np.ascontiguousarray(label_map).reshape(-1)
