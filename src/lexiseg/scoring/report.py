"""What a score says, as plain values and short texts: for machines, tables and pictures."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.metrics.image_counts import OUTSIDE
from lexiseg.scoring.protocol import Protocol
from lexiseg.scoring.score import ProtocolScores
from lexiseg.scoring.store.store import PredictionStore


def store_notes(store: PredictionStore) -> list[str]:
    """Say what a store lacks or has twice."""
    notes = []
    if store.missing:
        shown = ", ".join(store.missing[:3]) + (", …" if len(store.missing) > 3 else "")
        notes.append(f"{len(store.missing):,} of {len(store.manifest.stems):,} images are missing: {shown}")
    if store.duplicates:
        shown = ", ".join(store.duplicates[:3]) + (", …" if len(store.duplicates) > 3 else "")
        notes.append(
            f"{len(store.duplicates):,} images are there more than once and were counted once: {shown}"
        )
    return notes


def names_checksum(store: PredictionStore) -> str:
    """Give a short hash of the names that the model was asked for, synonyms included."""
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


def as_json(
    results: Sequence[ProtocolScores], store: PredictionStore, truth: LabelledDataset | None = None
) -> dict[str, Any]:
    """Give everything as plain values: fractions in [0, 1], None where undefined.

    Args:
        results: Of one store.
        store: The predictions.
        truth: Where true label maps were read; None for the store itself.
    """
    manifest = store.manifest
    predicted = {"data": manifest.data, "data_fingerprint": manifest.data_fingerprint}
    scored: dict[str, Any] = {"dataset": manifest.opened_with.get("dataset"), **predicted}
    if truth is not None:
        scored = {
            "dataset": truth.opened_with().get("dataset"),
            "data": str(truth.path),
            "data_fingerprint": truth.fingerprint(),
            **{f"predicted_{name}": value for name, value in predicted.items()},
        }
    return {
        "store": str(store.folder),
        "split": manifest.split if truth is None else truth.split,
        "names_checksum": names_checksum(store),
        "num_images": results[0].num_images,
        "num_missing": len(store.missing),
        "num_duplicates": len(store.duplicates),
        "settings": {**manifest.settings, **scored},
        "protocols": [_one(result) for result in results],
    }


def _one(result: ProtocolScores) -> dict[str, Any]:
    scores, spread = result.scores, result.class_intervals
    values: dict[str, Any] = {
        "name": result.protocol.name,
        "choices": choices(result.protocol),
        "score": _number(result.headline),
        "interval": [_number(result.intervals.low[0]), _number(result.intervals.high[0])],
        "num_averaged": result.num_averaged,
        "num_classes": len(result.names),
        "mean_iou": _number(scores.mean_iou),
        "mean_iou_present": _number(scores.mean_iou_present),
        "mean_iou_all": _number(scores.mean_iou_all),
        "pixel_accuracy": _number(scores.pixel_accuracy),
        "mean_accuracy": _number(scores.mean_accuracy),
        "frequency_weighted_iou": _number(scores.frequency_weighted_iou),
        "notes": list(result.notes),
    }
    if result.split_means is not None:
        values |= dict(
            zip(
                ("seen_mean_iou", "unseen_mean_iou", "harmonic_iou"),
                map(_number, result.split_means),
                strict=True,
            )
        )
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


def choices(protocol: Protocol) -> dict[str, Any]:
    """Give every choice of a protocol as plain values."""
    names = [item.name for item in dataclasses.fields(protocol) if item.name not in ("name", "original")]
    values = {name: getattr(protocol, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
