"""Count the label pairs of a predictions store, image by image, on several threads or by several processes.

Label maps of a store are exact. Background that is decided again is so where the block keeps the decision of
every pixel, to half precision; from scores on a grid, classes below the kept few count as the last of these.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.mapping import Mapper
from lexiseg.core.row_rle import LabelRuns, decode_runs, encode_runs
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.inference.decision import Redecision
from lexiseg.metrics.boundary import count_bands
from lexiseg.metrics.image_counts import ImageCounts, PairCounts, count_runs
from lexiseg.ops.resize import resize_argmax, scores_at
from lexiseg.scoring.store.blocks import StoredImage, TopScores
from lexiseg.scoring.store.predictions import Predictions


def without_background(image: StoredImage, background: int) -> UInt16[np.ndarray, "H W"]:
    """Reassign pixels that were called background to the best other class.

    Raises:
        DatasetError: The store keeps no scores, or no class but background.
    """
    label_map = decode_runs(image.predicted, image.size)
    called = label_map == background
    if not called.any():
        return label_map
    top = _top_of(image)
    if _is_decided(image, top):
        return np.where(called, top.labels[0], label_map)
    labels, scores = _dense(top, background)
    if not labels.size:
        raise _no_scores(image, "scores of background only")
    best = labels[resize_argmax(torch.from_numpy(scores[:-1]), image.size).labels]
    return np.where(called, best, label_map)


def best_scores(image: StoredImage, label_map: UInt16[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Return the score of the class that each pixel has, on the model's own scale.

    Raises:
        DatasetError: The store keeps no scores.
    """
    top = _top_of(image)
    if _is_decided(image, top):
        return top.scores[0].astype(np.float32)
    labels, scores = _dense(top, None)
    place = np.full(65536, labels.size, np.uint16)  # of a class that is nowhere among the best: the floor
    place[labels] = np.arange(labels.size)
    return scores_at(torch.from_numpy(scores), place[label_map])


def with_threshold(
    image: StoredImage, background: int, threshold: float, *, paint: int
) -> UInt16[np.ndarray, "H W"]:
    """Decide background by a threshold, as the inference setting ``background="threshold"`` does.

    Args:
        image: Its stored prediction.
        background: Label of the background that competed, or any number that is no label.
        threshold: Pixels whose class scores less become background.
        paint: Label that they get.

    Raises:
        DatasetError: The store keeps no scores.
    """
    label_map = without_background(image, background)
    return np.where(best_scores(image, label_map) < np.float32(threshold), np.uint16(paint), label_map)


def _is_decided(image: StoredImage, top: TopScores) -> bool:
    """Return whether the block keeps the decision itself, pixel by pixel, instead of scores on a grid."""
    return top.labels.shape == (1, *image.size)


def _top_of(image: StoredImage) -> TopScores:
    if image.top is None:
        raise _no_scores(image, "no scores of this image")
    return image.top


def _no_scores(image: StoredImage, found: str) -> DatasetError:
    return DatasetError(
        doing=f"deciding background again for {image.stem!r}",
        found=found,
        expected="the best scores of every grid point",
        fix="Run lexiseg predict into a new store with --top 5.",
    )


def _dense(
    top: TopScores, left_out: int | None
) -> tuple[UInt16[np.ndarray, " U"], Float32[np.ndarray, "planes h w"]]:
    """Return the classes that are among the best anywhere, a plane of scores for each, and a floor plane."""
    floor = top.scores[-1].astype(np.float32)
    labels = np.unique(top.labels)
    if left_out is not None:
        labels = labels[labels != left_out]
    scores = np.broadcast_to(floor, (labels.size + 1, *floor.shape)).copy()
    place = np.full(65536, labels.size, np.int64)
    place[labels] = np.arange(labels.size)
    rows, columns = np.indices(floor.shape)
    for kept, values in zip(top.labels[::-1], top.scores[::-1], strict=True):
        scores[place[kept], rows, columns] = values
    scores[-1] = floor
    return labels, scores


#: Images counted in one go, and threads that count in one process: more wait for the interpreter's lock.
_AT_ONCE, _MOST_THREADS = 16, 2

_NO_LABEL = 65534  # no vocabulary is that long together with a background


@dataclass(frozen=True, kw_only=True)
class Redecided:
    """Background decided again from the stored scores.

    Attributes:
        drop_background: Background does not compete.
        threshold: Pixels that score less become background; None for none.
    """

    drop_background: bool = False
    threshold: float | None = None


def refuse_redecision(store: Predictions, what: Redecision) -> None:
    """Refuse to decide again where the model did not decide by what the store keeps.

    Raises:
        InputError: It did not; the message says how to predict so that it does.
    """
    manifest = store.manifest
    if what in manifest.redecisions:
        return
    settings = manifest.settings
    made = ", ".join(f"{name} = {settings.get(name)}" for name in ("model", "background", "window", "refine"))
    if what == "threshold":
        doing = f"deciding background by a threshold from the store {store.title}"
        fix = (
            "Predict into a new store with --background threshold --threshold T (any T: it keeps the scores "
            "that decided), or score a run with that threshold."
        )
    else:
        doing = f"leaving background out of the predictions in {store.title}"
        fix = "Predict into a new store with --protocol NAME of the protocol to score, or with --background none."
    raise InputError(
        doing=doing,
        found=f"predictions made with {made}, where kept scores do not decide what a new run would",
        expected="a store whose scores are what the model decides by",
        fix=fix,
    )


class StoreCounter:
    """Counts of one store, each kind made when first needed and then kept.

    Args:
        store: The predictions.
        dataset: Where true label maps come from when they are not to be taken from the store.
        apply: Counts them a few at a time, by several workers for example; None for threads of this process.
        stems: Only these images; all of the store where left out.

    Raises:
        DatasetError: The data set is not the one that was predicted, or has no label maps.
    """

    def __init__(
        self,
        store: Predictions,
        dataset: LabelledDataset | None = None,
        *,
        apply: Mapper | None = None,
        stems: Sequence[str] | None = None,
    ) -> None:
        self.store = store
        self.stems = list(store.stems if stems is None else stems)
        self.classes = store.manifest.data_vocabulary()
        self._apply = apply
        self._dataset = dataset
        if dataset is not None:
            _refuse_other_data(store, dataset)
        self._index = {} if dataset is None else {stem: index for index, stem in enumerate(dataset.stems)}
        self._found: dict[tuple[float | None, Redecided], ImageCounts] = {}
        vocabulary = store.manifest.to_vocabulary()
        self.background = vocabulary.background
        self._num_asked = len(vocabulary)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_found": {}, "_apply": None}

    def counts(self, boundary: float | None = None, again: Redecided = Redecided()) -> ImageCounts:
        """Count label pairs in the data set's labels, of regions or of bands along borders.

        Raises:
            InputError: What is to be decided again does not follow from what the store keeps.
        """
        if again.drop_background and self.background is not None:
            refuse_redecision(self.store, "drop_background")
        if again.threshold is not None:
            refuse_redecision(self.store, "threshold")
        key = (boundary, again)
        if key not in self._found:
            work = partial(self._count_some, boundary=boundary, again=again)
            some = [self.stems[start : start + _AT_ONCE] for start in range(0, len(self.stems), _AT_ONCE)]
            if self._apply is not None:
                counted = list(self._apply(work, some))
            else:
                with ThreadPoolExecutor(min(_MOST_THREADS, torch.get_num_threads())) as pool:
                    counted = list(pool.map(work, some))
            self._found[key] = ImageCounts.join([pairs for part in counted for pairs in part])
        return self._found[key]

    def _count_some(self, stems: Sequence[str], **how: Any) -> list[PairCounts]:
        return [self._count(stem, **how) for stem in stems]

    def _count(self, stem: str, *, boundary: float | None, again: Redecided) -> PairCounts:
        image = self.store[stem]
        true = self.truth(image)
        predicted = image.predicted
        if again.threshold is not None:
            background = _NO_LABEL if self.background is None else self.background
            paint = self._num_asked if self.background is None else self.background
            predicted = encode_runs(with_threshold(image, background, again.threshold, paint=paint))
        elif again.drop_background and self.background is not None:
            predicted = encode_runs(without_background(image, self.background))
        predicted = LabelRuns(self.to_classes(stem, predicted.labels), predicted.lengths)
        if boundary is None:
            return count_runs(true, predicted)
        return count_bands(decode_runs(true, image.size), decode_runs(predicted, image.size), boundary)

    def to_classes(self, stem: str, labels: UInt16[np.ndarray, " R"]) -> UInt16[np.ndarray, " R"]:
        """Turn predicted labels into labels of the data set's classes; 65535 for none.

        Raises:
            DatasetError: A label is out of range.
        """
        manifest = self.store.manifest
        no_class = IGNORE_INDEX if manifest.classes_background is None else manifest.classes_background
        table = np.full(65536, _NO_LABEL, np.uint16)
        table[: len(manifest.class_of)] = manifest.class_of
        if self.background is None:
            table[self._num_asked] = no_class  # background painted by a threshold
        table[IGNORE_INDEX] = IGNORE_INDEX
        found = table[labels]
        if (found == _NO_LABEL).any():
            wrong = int(labels[found == _NO_LABEL].max())
            raise _label_error(self.store, stem, "prediction", wrong, self._num_asked)
        return found

    def truth(self, image: StoredImage) -> LabelRuns:
        """Return the true label map of an image, checked against its prediction.

        Raises:
            DatasetError: There is none, it has another size, or a label out of range.
        """
        true, size, where = image.true, image.size, str(self.store.where(image.stem))
        if self._dataset is not None:
            sample = self._dataset[self._index[image.stem]]
            true, where = None, str(sample.source)
            if sample.label_map is not None:
                true = encode_runs(sample.label_map)
                size = (sample.label_map.shape[0], sample.label_map.shape[1])
        if true is None:
            raise DatasetError(
                doing=f"scoring {image.stem!r}",
                found=f"no true label map in {where}",
                expected="a label map for every image",
                fix="Predict the labelled split only, or name a data set with labels with --data.",
            )
        num_true = int(true.lengths.sum(dtype=np.int64))
        if size != image.size or num_true != size[0] * size[1]:
            shown = "{}×{}".format(*size) if num_true == size[0] * size[1] else f"{num_true:,} pixels"
            raise DatasetError(
                doing=f"scoring {image.stem!r} of {self.store.where(image.stem)}",
                found="a prediction of {}×{} (height × width) for a truth of {}".format(*image.size, shown),
                expected="the same size",
                fix="The image was changed after it was predicted: delete the store and predict again.",
            )
        top = int(true.labels[true.labels != IGNORE_INDEX].max(initial=0))
        if top >= len(self.classes):
            raise _label_error(self.store, image.stem, "truth", top, len(self.classes))
        return true


def _refuse_other_data(store: Predictions, dataset: LabelledDataset) -> None:
    manifest = store.manifest
    if dataset.vocabulary.names != manifest.classes:
        pairs = zip(manifest.classes, dataset.vocabulary.names, strict=False)
        first = next((f", {a!r} where the data has {b!r}" for a, b in pairs if a != b), "")
        raise DatasetError(
            doing=f"scoring the store {store.title} on {dataset.path}",
            found=f"predictions made for {len(manifest.classes)} classes{first}",
            expected=f"the {len(dataset.vocabulary)} classes of the data set",
            fix="Run lexiseg predict again for this data set, or name the data set that was predicted.",
        )
    absent = [stem for stem in store.stems if stem not in set(dataset.stems)]
    if absent:
        raise DatasetError(
            doing=f"scoring the store {store.title} on {dataset.path}",
            found=f"{len(absent):,} predicted images that the data set lacks: {', '.join(absent[:3])}",
            expected="the images that were predicted",
            fix="Name the data set and the --split that were predicted.",
        )


def _label_error(store: Predictions, stem: str, what: str, label: int, num: int) -> DatasetError:
    return DatasetError(
        doing=f"scoring {stem!r} of {store.where(stem)}",
        found=f"label {label} in the {what}",
        expected=f"0 to {num - 1} for {num} classes, or {IGNORE_INDEX} for void",
        fix="The block was written for another vocabulary: delete the store and run lexiseg predict again.",
    )
