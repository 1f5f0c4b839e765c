"""Score a segmenter on a labelled data set."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.data.folder import FolderDataset
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.inference.segmenter import Segmenter
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.metrics.report import Report


def evaluate(
    segmenter: Segmenter,
    dataset: LabelledDataset | str | Path,
    *,
    advance: Callable[[], None] = lambda: None,
    **changes: Any,
) -> Report:
    """Segment every image with the data set's classes and count one confusion matrix over all.

    Label maps are compared at the images' original size. Pixels that are void in the truth are
    not scored. A background that the inference settings add, and that is not one of the data
    set's classes, counts as no class: a miss where the truth is a class.

    Args:
        segmenter: What ``lexiseg.load`` gives.
        dataset: Every sample needs a label map; a path is a folder in our own layout.
        advance: Called after each image.
        changes: Fields of ``InferenceSettings`` to change.

    Returns:
        Scores, per-class numbers and the settings that made them.

    Raises:
        DatasetError: A sample has no label map, or one that does not fit.
    """
    if isinstance(dataset, str | Path):
        dataset = FolderDataset(dataset, labels="required")
    vocabulary = dataset.vocabulary
    confusion = ConfusionMatrix(len(vocabulary))
    for sample in dataset:
        if sample.label_map is None:
            raise DatasetError(
                doing=f"scoring {sample.source}",
                found="no label map for it",
                expected="a label map for every picture that is scored",
                fix='Add its label file, or open the folder with labels="only" (--labelled-only).',
            )
        predicted = segmenter.segment(sample.image, vocabulary, **changes).label_map
        no_class = predicted >= len(vocabulary)
        confusion.update(sample.label_map, np.where(no_class, np.uint16(IGNORE_INDEX), predicted))
        advance()
    described = segmenter.describe(vocabulary, **changes)
    return Report(
        scores=compute_scores(confusion, seen=vocabulary.seen),
        names=vocabulary.names,
        num_images=len(dataset),
        settings={
            **described["settings"],
            "data": str(dataset.path),
            "split": dataset.split,
            "data_fingerprint": dataset.fingerprint(),
            "lexiseg": _version(),
        },
    )


def _version() -> str:
    try:
        return version("lexiseg")
    except PackageNotFoundError:
        return "source folder"
