"""Count a confusion matrix: Lexiseg, numpy.bincount on a joint index, scikit-learn."""

from pathlib import Path

import numpy as np
from label_maps import LabelMap, draw_noise, draw_regions, read_annotations, shift
from sklearn.metrics import confusion_matrix
from timing import Row, compare, print_rows, write_json

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.metrics.confusion import ConfusionMatrix

NUM_CLASSES = 150
SIZE = (512, 683)
NUM_IMAGES = 8

Pairs = list[tuple[LabelMap, LabelMap]]


def count_lexiseg(pairs: Pairs) -> np.ndarray:
    confusion = ConfusionMatrix(NUM_CLASSES)
    for true, predicted in pairs:
        confusion.update(true, predicted)
    return confusion.matrix[:, :-1]


def count_bincount(pairs: Pairs) -> np.ndarray:
    total = np.zeros(NUM_CLASSES * NUM_CLASSES, np.int64)
    for true, predicted in pairs:
        scored = true != IGNORE_INDEX
        joint = true[scored].astype(np.int64) * NUM_CLASSES + predicted[scored]
        total += np.bincount(joint, minlength=total.size)
    return total.reshape(NUM_CLASSES, NUM_CLASSES)


def count_sklearn(pairs: Pairs) -> np.ndarray:
    total = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for true, predicted in pairs:
        scored = true != IGNORE_INDEX
        total += confusion_matrix(true[scored], predicted[scored], labels=np.arange(NUM_CLASSES))
    return total


def main() -> None:
    drawn = [draw_regions(SIZE, 40, NUM_CLASSES, seed) for seed in range(NUM_IMAGES)]
    inputs: dict[str, Pairs] = {
        "regions": [(label_map, shift(label_map, 9)) for label_map in drawn],
        "coco-free": [(label_map, shift(label_map, 9)) for label_map in read_annotations(NUM_IMAGES)],
        "noise": [
            (draw_noise(SIZE, NUM_CLASSES, s), draw_noise(SIZE, NUM_CLASSES, s + 50))
            for s in range(NUM_IMAGES)
        ],
    }
    rows: list[Row] = []
    for name, pairs in inputs.items():
        if not pairs:
            continue
        counts = [function(pairs) for function in (count_lexiseg, count_bincount, count_sklearn)]
        assert all(np.array_equal(counts[0], other) for other in counts), "the counts differ"
        functions = {
            "lexiseg": lambda pairs=pairs: count_lexiseg(pairs),
            "numpy.bincount": lambda pairs=pairs: count_bincount(pairs),
            "sklearn.confusion_matrix": lambda pairs=pairs: count_sklearn(pairs),
        }
        pixels = sum(true.size for true, _ in pairs)
        rows += compare(functions, repeats=15, input=name, images=len(pairs), pixels=pixels)
    print_rows(rows, f"Confusion matrix, {NUM_CLASSES} classes, one thread; ratio to lexiseg")
    write_json(
        Path(__file__).with_suffix(".json"), rows, ["numpy", "numba", "scikit-learn"], num_classes=NUM_CLASSES
    )


if __name__ == "__main__":
    main()
