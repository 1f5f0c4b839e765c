"""Count the label pairs of a predictions store, image by image, on several threads."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.label_runs import LabelRuns, decode_runs, encode_runs
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.metrics.boundary import count_bands
from lexiseg.metrics.image_counts import ImageCounts, PairCounts, count_runs
from lexiseg.scoring.store import PredictionStore
from lexiseg.scoring.store_blocks import StoredImage
from lexiseg.scoring.store_redecide import with_threshold, without_background

_NO_LABEL = 65534  # no vocabulary is that long together with a background


@dataclass(frozen=True, kw_only=True)
class Redecision:
    """Background decided again from the stored scores.

    Attributes:
        drop_background: Background does not compete.
        threshold: Pixels that score less become background; None for none.
    """

    drop_background: bool = False
    threshold: float | None = None


class StoreCounter:
    """Counts of one store, each kind made when first needed and then kept.

    Args:
        store: The predictions.
        dataset: Where true label maps come from when they are not to be taken from the store.
        threads: Images counted at a time.
        stems: Only these images; all of the store where left out.

    Raises:
        DatasetError: The data set is not the one that was predicted, or has no label maps.
    """

    def __init__(
        self,
        store: PredictionStore,
        dataset: LabelledDataset | None = None,
        *,
        threads: int = 2,
        stems: Sequence[str] | None = None,
    ) -> None:
        self.store = store
        self.stems = list(store.stems if stems is None else stems)
        self.classes = store.manifest.data_vocabulary()
        self._threads = threads
        self._dataset = dataset
        if dataset is not None:
            _refuse_other_data(store, dataset)
        self._index = {} if dataset is None else {stem: index for index, stem in enumerate(dataset.stems)}
        self._found: dict[tuple[float | None, Redecision], ImageCounts] = {}
        vocabulary = store.manifest.to_vocabulary()
        self.background = vocabulary.background
        self._num_asked = len(vocabulary)

    def counts(self, boundary: float | None = None, again: Redecision = Redecision()) -> ImageCounts:
        """Count label pairs in the data set's labels, of regions or of bands along borders."""
        key = (boundary, again)
        if key not in self._found:
            work = partial(self._count, boundary=boundary, again=again)
            with ThreadPoolExecutor(self._threads) as pool:
                self._found[key] = ImageCounts.join(list(pool.map(work, self.stems)))
        return self._found[key]

    def _count(self, stem: str, *, boundary: float | None, again: Redecision) -> PairCounts:
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
        """Give the true label map of an image, checked against its prediction.

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
                fix="The picture was changed after it was predicted: delete the store and predict again.",
            )
        top = int(true.labels[true.labels != IGNORE_INDEX].max(initial=0))
        if top >= len(self.classes):
            raise _label_error(self.store, image.stem, "truth", top, len(self.classes))
        return true


def _refuse_other_data(store: PredictionStore, dataset: LabelledDataset) -> None:
    manifest = store.manifest
    if dataset.vocabulary.names != manifest.classes:
        pairs = zip(manifest.classes, dataset.vocabulary.names, strict=False)
        first = next((f", {a!r} where the data has {b!r}" for a, b in pairs if a != b), "")
        raise DatasetError(
            doing=f"scoring the store {store.folder} on {dataset.path}",
            found=f"predictions made for {len(manifest.classes)} classes{first}",
            expected=f"the {len(dataset.vocabulary)} classes of the data set",
            fix="Run lexiseg predict again for this data set, or name the data set that was predicted.",
        )
    absent = [stem for stem in store.stems if stem not in set(dataset.stems)]
    if absent:
        raise DatasetError(
            doing=f"scoring the store {store.folder} on {dataset.path}",
            found=f"{len(absent):,} predicted images that the data set lacks: {', '.join(absent[:3])}",
            expected="the images that were predicted",
            fix="Name the data set and the --split that were predicted.",
        )


def _label_error(store: PredictionStore, stem: str, what: str, label: int, num: int) -> DatasetError:
    return DatasetError(
        doing=f"scoring {stem!r} of {store.where(stem)}",
        found=f"label {label} in the {what}",
        expected=f"0 to {num - 1} for {num} classes, or {IGNORE_INDEX} for void",
        fix="The block was written for another vocabulary: delete the store and run lexiseg predict again.",
    )
