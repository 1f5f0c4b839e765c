"""Score a model, by its string or as it is, on a labelled data set."""

import os
from pathlib import Path
from typing import Any

from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.inference.segmenter import Segmenter
from lexiseg.runs.load import load
from lexiseg.scoring import evaluate as scoring
from lexiseg.scoring.report import Report


def evaluate(
    model: Segmenter | str | os.PathLike[str], dataset: LabelledDataset | str | Path, **changes: Any
) -> Report:
    """Segment every image with the data set's classes and score the whole set under three protocols.

    Args:
        model: What ``lexiseg.load`` gives, or what it takes.
        dataset: Every sample needs a label map; a path is a folder in our own layout, of which the images of val.txt
            are scored where there is one.
        changes: ``partial`` and ``advance`` of ``scoring.evaluate.evaluate``, and fields of ``InferenceSettings``.

    Returns:
        Scores under ``mmseg``, ``present-only`` and ``all-classes``, and the settings that made them:
        ``scores.mean_iou`` and the other fields of ``Scores`` are those of all classes together.

    Raises:
        DatasetError: A sample has no label map, or, unless ``partial``, images or label files could not be read.
        LexisegError: The model cannot be loaded.
    """
    segmenter = model if isinstance(model, Segmenter) else load(model)
    return scoring.evaluate(segmenter, dataset, **changes)
