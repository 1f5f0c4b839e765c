"""Segment a data set into a predictions store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.row_rle import encode_runs
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.inference.background import competing_classes, with_background
from lexiseg.inference.predict import EncodedImage, grid_scores
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.scoring.protocol import AskedNames, Protocol, names_for
from lexiseg.scoring.store.blocks import StoredImage, TopScores
from lexiseg.scoring.store.store import Manifest, StoreWriter

#: Classes whose scores are kept at every grid point.
TOP = 5


def predict_into(
    segmenter: Segmenter,
    dataset: LabelledDataset,
    folder: Path,
    *,
    protocol: Protocol | None = None,
    top: int = TOP,
    shard: tuple[int, int] = (0, 1),
    advance: Callable[[], None] = lambda: None,
    **changes: Any,
) -> int:
    """Segment every image that is not in the store yet, and write it with its true label map.

    Args:
        segmenter: What ``lexiseg.load`` gives.
        dataset: Images; those without a label map are stored without.
        folder: The store; made if it does not exist.
        protocol: Chooses names and settings; ``changes`` come on top of it.
        top: Classes whose scores are kept at every point of the encoder's grid; 0 for none.
        shard: Number of this process and number of all.
        advance: Called after each image of this shard.
        changes: Fields of ``InferenceSettings`` to change.

    Returns:
        How many images were segmented now.

    Raises:
        InputError: The store was written with other settings.
        OutputError: The store cannot be written.
    """
    classes = dataset.vocabulary
    if protocol is not None:
        fixed = protocol.inference_changes()
        if changes.get("background", "threshold") != "threshold":
            fixed.pop("threshold", None)  # left without effect by the other background asked for
        if "window" in changes and changes["window"] is None:
            fixed.pop("window_stride", None)
        changes = fixed | changes
        names = names_for(protocol, classes)
    else:
        names = AskedNames(classes, tuple(range(len(classes))))
    settings = replace(segmenter.settings, **changes)
    asked = with_background(names.vocabulary, settings)
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
    )
    scorer = _GridScorer(segmenter, asked, settings, top)
    num_new = 0
    with StoreWriter(folder, manifest, shard=number) as writer:
        for index in range(number, len(dataset), of):
            stem = dataset.stems[index]
            if stem not in writer.done:
                sample = dataset[index]
                encoded = segmenter.encode(sample.image, **changes)
                label_map = segmenter.segment(encoded, asked, **changes).label_map
                writer.append(
                    StoredImage(
                        stem=stem,
                        size=(label_map.shape[0], label_map.shape[1]),
                        predicted=encode_runs(label_map),
                        true=None if sample.label_map is None else encode_runs(sample.label_map),
                        top=scorer.top_scores(encoded),
                    )
                )
                num_new += 1
            advance()
    return num_new


class _GridScorer:
    """Scores of all competing classes on the grid, cut down to the best few."""

    def __init__(
        self, segmenter: Segmenter, vocabulary: Vocabulary, settings: InferenceSettings, top: int
    ) -> None:
        self._segmenter, self._settings = segmenter, settings
        self._competing = np.asarray(competing_classes(vocabulary, settings), np.uint16)
        self._top = min(top, self._competing.size)
        names = vocabulary.all_names()
        self._counts = [len(names[label]) for label in self._competing]
        words = [name for label in self._competing for name in names[label]]
        self._embeddings: Float[Tensor, "S D"] = segmenter.embed_texts(words, settings.prompts)

    def top_scores(self, encoded: EncodedImage) -> TopScores | None:
        if self._top == 0:
            return None
        scores = grid_scores(
            encoded,
            self._segmenter.class_scores,
            self._embeddings,
            self._counts,
            list(range(len(self._counts))),
            settings=self._settings,
            independent_classes=self._segmenter.independent_classes,
        )
        values, order = scores.float().cpu().topk(self._top, dim=0)
        return TopScores(self._competing[order.numpy()], values.numpy().astype(np.float16))
