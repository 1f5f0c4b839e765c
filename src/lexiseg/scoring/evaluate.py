"""Score a segmenter on a labelled data set: predict into memory, then score as any store."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError
from lexiseg.data.folder import FolderDataset, split_to_score
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.plausibility import data_warnings
from lexiseg.data.trained_on import trained_on_note
from lexiseg.inference.segmenter import Segmenter
from lexiseg.scoring.published import find_protocol
from lexiseg.scoring.report import Report
from lexiseg.scoring.score import score
from lexiseg.scoring.store.counts import StoreCounter
from lexiseg.scoring.store.predict import PredictAll, predict_in_memory
from lexiseg.scoring.store.predictions import MemoryStore

#: The three ways to average, each under its protocol; the first one's scores are ``Report.scores``.
EVALUATED = ("mmseg", "present-only", "all-classes")

#: Failed images that the message names.
_FAILURES = 5


def evaluate(
    segmenter: Segmenter,
    dataset: LabelledDataset | str | Path,
    *,
    partial: bool = False,
    advance: Callable[[], None] = lambda: None,
    predict_all: PredictAll | None = None,
    **changes: Any,
) -> Report:
    """Segment every image with the data set's classes and score the whole set under three protocols.

    Label maps are compared at the images' original size. Pixels that are void in the truth are
    not scored. A background that the inference settings add, and that is not one of the data
    set's classes, counts as no class: a miss where the truth is a class.

    Args:
        segmenter: What ``lexiseg.load`` gives.
        dataset: Every sample needs a label map; a path is a folder in our own layout, of which the images of val.txt
            are scored where there is one.
        partial: Score what there is though images or label files could not be read.
        advance: Called after each image.
        predict_all: Predicts them, by several workers for example; None for one after the other, here.
        changes: Fields of ``InferenceSettings`` to change.

    Returns:
        Scores under ``mmseg``, ``present-only`` and ``all-classes``, and the settings that made them:
        ``scores.mean_iou`` and the other fields of ``Scores`` are those of all classes together.

    Raises:
        DatasetError: A sample has no label map, or, unless ``partial``, images or label files could not be read:
            all that were are named.
    """
    if isinstance(dataset, str | Path):
        dataset = FolderDataset(dataset, split_to_score(dataset), labels="required")
        for warning in data_warnings(dataset):
            warnings.warn(warning, stacklevel=2)
    store = predict_in_memory(segmenter, dataset, advance=advance, predict_all=predict_all, **changes)
    _refuse_failed(store, partial=partial)
    if store.manifest.trained_on:
        note = trained_on_note(store.manifest.trained_on, len(store.manifest.stems))
        warnings.warn(note, stacklevel=2)
    counter = StoreCounter(store)
    return Report(results=tuple(score(counter, find_protocol(name)) for name in EVALUATED), store=store)


def _refuse_failed(store: MemoryStore, *, partial: bool) -> None:
    if not store.failed or (partial and len(store)):
        return
    shown = "; ".join(f"{stem}: {why}" for stem, why in list(store.failed.items())[:_FAILURES])
    more = f"; and {len(store.failed) - _FAILURES:,} more" if len(store.failed) > _FAILURES else ""
    raise DatasetError(
        doing=f"scoring {store.title}",
        found=f"{len(store.failed):,} of {len(store.manifest.stems):,} images that could not be read: {shown}{more}",
        expected="images and label files that can be read",
        fix="Mend or remove them" + (", or score the others with partial=True." if len(store) else "."),
    )
