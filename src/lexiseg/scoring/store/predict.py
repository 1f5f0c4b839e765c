"""Segment a data set into a predictions store."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, ImageError, LexisegError, OutputError, WeightsError
from lexiseg.core.row_rle import encode_runs
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision
from lexiseg.inference.segmenter import Segmenter
from lexiseg.scoring.protocol import PromptedClasses, Protocol, names_for
from lexiseg.scoring.store.blocks import StoredImage, TopScores
from lexiseg.scoring.store.predictions import Manifest, MemoryStore
from lexiseg.scoring.store.store import StoreWriter

#: Classes whose scores are kept at every grid point.
TOP = 5


@dataclass(frozen=True, kw_only=True)
class PredictionTask:
    """What is asked for of each image of a data set; can be sent to other processes.

    Attributes:
        dataset: The images.
        vocabulary: Names to find in them.
        changes: Fields of ``InferenceSettings`` to change.
        top: Classes whose scores are kept; None for no scores, which say nothing.
        needs_truth: Refuse images without a label map.
    """

    dataset: LabelledDataset
    vocabulary: Vocabulary
    changes: Mapping[str, Any]
    top: int | None
    needs_truth: bool

    def name_classes(self, segmenter: Segmenter) -> ClassNames:
        """Build what is decided between."""
        return segmenter.name_classes(self.vocabulary, segmenter.settings.changed(**self.changes))

    def predict(self, segmenter: Segmenter, class_names: ClassNames, index: int) -> StoredImage | str:
        """Segment one image; return why where it or its label file cannot be read.

        Raises:
            DatasetError: It has no label map, and needs one.
        """
        try:
            sample = self.dataset[index]
            is_wanted = sample.label_map is not None or not self.needs_truth
            encoded = segmenter.encode(sample.image, **self.changes) if is_wanted else None
        except (ImageError, DatasetError, OSError) as error:
            if isinstance(error, WeightsError | OutputError):
                raise  # not of this image
            return _reason(error)
        if encoded is None:
            raise _without_truth(sample)
        settings = segmenter.settings.changed(**self.changes)
        encoded = segmenter.choose_views(encoded, class_names, settings)
        decision = segmenter.decide(encoded, class_names, settings)
        label_map = decision.label_map(class_names, settings)
        return StoredImage(
            stem=self.dataset.stems[index],
            size=(label_map.shape[0], label_map.shape[1]),
            predicted=encode_runs(label_map),
            true=None if sample.label_map is None else encode_runs(sample.label_map),
            top=None if self.top is None else _top_scores(decision, class_names, self.top),
        )


#: Predicts images of a data set, given by their indices, in this order wherever that is possible: a prediction, or why
#: there is none.
PredictAll: TypeAlias = Callable[[PredictionTask, Sequence[int]], Iterator[tuple[int, StoredImage | str]]]


def predict_into(
    segmenter: Segmenter,
    dataset: LabelledDataset,
    folder: Path,
    *,
    protocol: Protocol | None = None,
    top: int = TOP,
    shard: tuple[int, int] = (0, 1),
    advance: Callable[[], None] = lambda: None,
    predict_all: PredictAll | None = None,
    **changes: Any,
) -> int:
    """Segment every image that is not in the store yet, and write it with its true label map.

    An image or label file that cannot be read is left out and noted in the store (``PredictionStore.failed``); the
    same call tries it again.

    Args:
        segmenter: What ``lexiseg.load`` gives.
        dataset: Images; those without a label map are stored without.
        folder: The store; made if it does not exist.
        protocol: Chooses names and settings; ``changes`` come on top of it.
        top: Classes whose scores are kept at every point of the encoder's grid, or at every pixel the one
            that was decided where something else than the grid's scores decided; 0 for none.
        shard: Number of this process and number of all.
        advance: Called after each image of this shard.
        predict_all: Predicts them, by several workers for example; None for one after the other, here.
        changes: Fields of ``InferenceSettings`` to change.

    Returns:
        How many images were segmented now.

    Raises:
        InputError: The store was written with other settings, or another run writes this shard.
        OutputError: The store cannot be written.
    """
    open_store = partial(StoreWriter, folder, shard=shard[0])
    how: dict[str, Any] = {
        "protocol": protocol,
        "top": top,
        "shard": shard,
        "advance": advance,
        "predict_all": predict_all,
    }
    return _predict(segmenter, dataset, open_store, **how, changes=changes)[1]


def predict_in_memory(
    segmenter: Segmenter,
    dataset: LabelledDataset,
    *,
    advance: Callable[[], None] = lambda: None,
    predict_all: PredictAll | None = None,
    **changes: Any,
) -> MemoryStore:
    """Segment every image of a labelled data set and keep the predictions in memory, without scores.

    What cannot be read is left out and noted in ``MemoryStore.failed``.

    Args:
        segmenter: What ``lexiseg.load`` gives.
        dataset: Images with label maps.
        advance: Called after each image.
        predict_all: As for ``predict_into``.
        changes: Fields of ``InferenceSettings`` to change.

    Raises:
        DatasetError: An image has no label map.
    """
    how: dict[str, Any] = {
        "protocol": None,
        "top": 0,
        "shard": (0, 1),
        "advance": advance,
        "predict_all": predict_all,
    }
    store, _ = _predict(segmenter, dataset, MemoryStore, **how, changes=changes, needs_truth=True)
    assert isinstance(store, MemoryStore)
    return store


def _predict(
    segmenter: Segmenter,
    dataset: LabelledDataset,
    open_store: Callable[[Manifest], StoreWriter | MemoryStore],
    *,
    protocol: Protocol | None,
    top: int,
    shard: tuple[int, int],
    advance: Callable[[], None],
    predict_all: PredictAll | None,
    changes: dict[str, Any],
    needs_truth: bool = False,
) -> tuple[StoreWriter | MemoryStore, int]:
    """Segment what is not there yet; return the store and how many images were segmented."""
    classes = dataset.vocabulary
    if protocol is not None:
        fixed = dict(protocol.inference)
        if changes.get("background", fixed.get("background")) != fixed.get("background"):
            for name in ("threshold", "min_probability", "logit_scale"):
                fixed.pop(name, None)  # left without effect by the other background asked for
        if "window" in changes and changes["window"] is None:
            fixed.pop("window_stride", None)
        changes = fixed | changes
        names = names_for(protocol, classes)
    else:
        names = PromptedClasses(classes, tuple(range(len(classes))))
    settings = segmenter.settings.changed(**changes)
    segmenter.refuse_settings(settings)
    class_names = segmenter.name_classes(names.vocabulary, settings)
    asked = class_names.vocabulary
    redecisions = segmenter.redecisions(settings) if top else frozenset()
    no_class = IGNORE_INDEX if classes.background is None else classes.background
    number, of = shard
    manifest = Manifest(
        vocabulary=asked.names,
        synonyms=asked.synonyms,
        background=asked.background,
        class_of=(*names.classes, no_class)[: len(asked)],
        classes=classes.names,
        class_synonyms=classes.synonyms,
        classes_background=classes.background,
        seen=None if classes.seen is None else tuple(sorted(classes.seen)),
        protocol=None if protocol is None else protocol.name,
        settings={**segmenter.describe(asked, **changes)["settings"], "top": top},
        data=str(dataset.path),
        opened_with=dataset.opened_with(),
        split=dataset.split,
        data_fingerprint=dataset.fingerprint(),
        stems=tuple(dataset.stems),
        file_names=_file_names(dataset),
        redecisions=tuple(sorted(redecisions)),
        trained_on=trained_on_stems(segmenter, dataset),
    )
    task = PredictionTask(
        dataset=dataset,
        vocabulary=names.vocabulary,
        changes=changes,
        top=top if redecisions else None,
        needs_truth=needs_truth,
    )
    num_new = 0
    with open_store(manifest) as writer:
        indices = range(number, len(dataset), of)
        pending = [index for index in indices if dataset.stems[index] not in writer.done]
        for _ in range(len(indices) - len(pending)):
            advance()
        predictions = (
            ((index, task.predict(segmenter, class_names, index)) for index in pending)
            if predict_all is None
            else predict_all(task, pending)
        )
        for index, found in predictions:
            if isinstance(found, str):
                writer.fail(dataset.stems[index], found)
            else:
                writer.append(found)
                num_new += 1
            advance()
    return writer, num_new


def trained_on_stems(segmenter: Segmenter, dataset: LabelledDataset) -> tuple[str, ...]:
    """Return the stems of the images of a data set that the model was trained on, as far as that is known."""
    if segmenter.trained_on is None:
        return ()
    found = segmenter.trained_on.among(dataset.image_path(index) for index in range(len(dataset)))
    return tuple(dataset.stems[index] for index in found)


def _file_names(dataset: LabelledDataset) -> tuple[str, ...]:
    """Name the files of a data set below its path; nothing where they are not all known."""
    paths = [dataset.image_path(index) for index in range(len(dataset))]
    return tuple(Path(os.path.relpath(path, dataset.path)).as_posix() for path in paths if path is not None)


def _reason(error: Exception) -> str:
    if isinstance(error, LexisegError):
        return f"{error.doing}: {error.found}. {error.fix}"
    return f"{type(error).__name__}: {error}"


def _without_truth(sample: Sample) -> DatasetError:
    return DatasetError(
        doing=f"scoring {sample.source}",
        found="no label map for it",
        expected="a label map for every image that is scored",
        fix='Add its label file, or open the folder with labels="only" (--labelled-only).',
    )


def _top_scores(decision: Decision, class_names: ClassNames, top: int) -> TopScores:
    """Cut what decided down to the best few classes a grid point, or to the decision itself."""
    if decision.grid_scores is None:
        return TopScores(decision.labels[None], decision.scores[None].astype(np.float16))
    scores = decision.grid_scores().float().cpu()
    values, order = scores.topk(min(top, len(scores)), dim=0)
    return TopScores(
        np.asarray(class_names.labels, np.uint16)[order.numpy()], values.numpy().astype(np.float16)
    )
