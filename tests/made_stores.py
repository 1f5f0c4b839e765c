"""Predictions stores made from label maps written out by hand, without any model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lexiseg.core.label_runs import encode_runs
from lexiseg.scoring.store import PredictionStore, StoreWriter
from lexiseg.scoring.store_blocks import StoredImage, TopScores
from lexiseg.scoring.store_manifest import Manifest

Rows = Sequence[Sequence[int]]


def manifest_of(names: Sequence[str], stems: Sequence[str], **more: object) -> Manifest:
    """Describe a store whose model was asked for the data set's own names."""
    background = list(names).index("background") if "background" in names else None
    facts = Manifest(
        vocabulary=tuple(names),
        synonyms=((),) * len(names),
        background=background,
        class_of=tuple(range(len(names))),
        classes=tuple(names),
        class_synonyms=((),) * len(names),
        classes_background=background,
        seen=None,
        protocol=None,
        settings={"model": "hand", "background": "none"},
        data="data",
        split=None,
        data_fingerprint="0",
        stems=tuple(stems),
    )
    return replace(facts, **more)


def image_of(stem: str, true: Rows | None, predicted: Rows, top: TopScores | None = None) -> StoredImage:
    """Make a stored image from rows of labels."""
    label_map = np.array(predicted, np.uint16)
    return StoredImage(
        stem=stem,
        size=(label_map.shape[0], label_map.shape[1]),
        predicted=encode_runs(label_map),
        true=None if true is None else encode_runs(np.array(true, np.uint16)),
        top=top,
    )


def make_store(
    folder: Path, names: Sequence[str], images: Sequence[StoredImage], **more: object
) -> PredictionStore:
    """Write images into one shard and open the store."""
    stems = more.pop("stems", [image.stem for image in images])
    with StoreWriter(folder, manifest_of(names, stems, **more)) as writer:
        for image in images:
            writer.append(image)
    return PredictionStore(folder)
