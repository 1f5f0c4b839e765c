"""Report: what a store scored, as plain values and short texts, for machines, tables and images."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.trained_on import trained_on_note
from lexiseg.metrics.image_counts import OUTSIDE
from lexiseg.metrics.iou import METRICS, SPLIT_METRICS, Scores
from lexiseg.scoring.score import ProtocolScores
from lexiseg.scoring.store.predictions import Predictions

#: Failed images that are named in notes.
_FAILURES = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a store scored under some protocols: of ``evaluate`` and of ``lexiseg score`` alike.

    Attributes:
        results: Scores under each protocol.
        store: The predictions.
        truth: Where true label maps were read; None for the store itself.
    """

    results: tuple[ProtocolScores, ...]
    store: Predictions
    truth: LabelledDataset | None = None

    @property
    def scores(self) -> Scores:
        """Return every mean and class under the first protocol."""
        return self.results[0].scores

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class names of ``scores``, in label order."""
        return self.results[0].names

    @property
    def num_images(self) -> int:
        """Count the images that were scored."""
        return self.results[0].num_images

    @property
    def settings(self) -> dict[str, Any]:
        """Return the model, every inference setting and the data."""
        manifest, truth = self.store.manifest, self.truth
        predicted = {"data": manifest.data, "data_fingerprint": manifest.data_fingerprint}
        scored: dict[str, Any] = {"dataset": manifest.opened_with.get("dataset"), **predicted}
        if truth is not None:
            scored = {
                "dataset": truth.opened_with().get("dataset"),
                "data": str(truth.path),
                "data_fingerprint": truth.fingerprint(),
                **{f"predicted_{name}": value for name, value in predicted.items()},
            }
        return {**manifest.settings, **scored}

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values: fractions in [0, 1], None where undefined."""
        manifest = self.store.manifest
        return {
            "store": self.store.title,
            "lexiseg": _version(),
            "split": manifest.split if self.truth is None else self.truth.split,
            "names_checksum": names_checksum(self.store),
            "num_images": self.num_images,
            "num_missing": len(self.store.missing),
            "failed": dict(self.store.failed),
            "num_trained_on": len(manifest.trained_on),
            "num_duplicates": len(self.store.duplicates),
            "settings": self.settings,
            "protocols": [_one(result) for result in self.results],
        }


def write_json(content: Mapping[str, Any], path: str | Path) -> None:
    """Write plain values as JSON, whole or not at all.

    Raises:
        OutputError: The folder cannot be written.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def store_notes(store: Predictions) -> list[str]:
    """Say what a store lacks or has twice."""
    notes = []
    manifest = store.manifest
    if manifest.trained_on:
        notes.append(trained_on_note(manifest.trained_on, len(manifest.stems)))
    if store.missing:
        shown = ", ".join(store.missing[:3]) + (", …" if len(store.missing) > 3 else "")
        notes.append(f"{len(store.missing):,} of {len(store.manifest.stems):,} images are missing: {shown}")
    notes += [
        f"could not be predicted: {stem}: {why}" for stem, why in list(store.failed.items())[:_FAILURES]
    ]
    if len(store.failed) > _FAILURES:
        notes.append(f"{len(store.failed) - _FAILURES:,} more could not be predicted")
    if store.duplicates:
        shown = ", ".join(store.duplicates[:3]) + (", …" if len(store.duplicates) > 3 else "")
        notes.append(
            f"{len(store.duplicates):,} images are there more than once and were counted once: {shown}"
        )
    return notes


def names_checksum(store: Predictions) -> str:
    """Return a short hash of the names that the model was asked for, synonyms included."""
    lines = ("\t".join(names) for names in store.manifest.to_vocabulary().all_names())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def worst_confusions(result: ProtocolScores, count: int = 12) -> list[tuple[str, str, int, float]]:
    """List the pairs that cost most pixels: true class, predicted class, pixels, share of the true class.

    A miss to no class at all is called "no class", or "off the border" where bands are compared.
    """
    nothing = "no class" if result.asked.boundary is None else "off the border"
    counts = result.counts
    wrong = (counts.true != IGNORE_INDEX) & (counts.true != OUTSIDE) & (counts.true != counts.predicted)
    keys = counts.true[wrong].astype(np.int64) << 16 | counts.predicted[wrong]
    pairs, place = np.unique(keys, return_inverse=True)
    pixels = np.zeros(pairs.size, np.int64)
    np.add.at(pixels, place, counts.pixels[wrong])
    worst = []
    for index in np.argsort(-pixels, kind="stable")[:count].tolist():
        true, predicted = int(pairs[index] >> 16), int(pairs[index] & 0xFFFF)
        other = nothing if predicted == IGNORE_INDEX else result.names[predicted]
        amount = int(pixels[index])
        worst.append((result.names[true], other, amount, amount / int(result.scores.true_pixels[true])))
    return worst


def _one(result: ProtocolScores) -> dict[str, Any]:
    scores, spread = result.scores, result.class_intervals
    values: dict[str, Any] = {
        "name": result.protocol.name,
        "choices": result.protocol.choices(),
        "metric": result.metric.key,
        "score": _number(result.headline),
        "interval": [_number(result.intervals.low[0]), _number(result.intervals.high[0])],
        "num_averaged": result.num_averaged,
        "num_classes": len(result.names),
        **{metric.key: _number(getattr(scores, metric.key)) for metric in METRICS},
        "notes": list(result.notes),
    }
    if result.split_means is not None:
        keys = [metric.key for metric in SPLIT_METRICS]
        values |= dict(zip(keys, map(_number, result.split_means), strict=True))
    if result.imagenet_s is not None:
        more = dataclasses.asdict(result.imagenet_s)
        by_size = [_number(value) for value in more.pop("mean_iou_by_size")]
        values["imagenet_s"] = {name: _number(value) for name, value in more.items()}
        values["imagenet_s"]["mean_iou_by_size"] = by_size
    values["per_class"] = [
        {
            "name": name,
            "iou": _number(scores.iou[label]),
            "interval": [_number(spread.low[label]), _number(spread.high[label])],
            "accuracy": _number(scores.accuracy[label]),
            "true_pixels": int(scores.true_pixels[label]),
            "predicted_pixels": int(scores.predicted_pixels[label]),
        }
        for label, name in enumerate(result.names)
    ]
    values["worst_confusions"] = [
        {"true": true, "predicted": predicted, "pixels": pixels, "share_of_true": share}
        for true, predicted, pixels, share in worst_confusions(result)
    ]
    return values


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _version() -> str:
    try:
        return version("lexiseg")
    except PackageNotFoundError:
        return "source folder"
