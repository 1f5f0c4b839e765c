"""Scores under several protocols, side by side: for people and for machines."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.metrics.image_counts import OUTSIDE
from lexiseg.scoring.protocols import Protocol
from lexiseg.scoring.score_store import ProtocolScores
from lexiseg.scoring.store import PredictionStore

if TYPE_CHECKING:
    from rich.console import Console

MAX_CLASS_ROWS = 40

_AVERAGED = {"occurs_or_predicted": "mmseg", "occurs": "detectron2", "all": "ImageNet-S"}


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


def as_json(results: Sequence[ProtocolScores], store: PredictionStore) -> dict[str, Any]:
    """Give everything as plain values: fractions in [0, 1], None where undefined."""
    manifest = store.manifest
    return {
        "store": str(store.folder),
        "split": manifest.split,
        "names_checksum": names_checksum(store),
        "num_images": results[0].num_images,
        "num_missing": len(store.missing),
        "num_duplicates": len(store.duplicates),
        "settings": {
            **manifest.settings,
            "data": manifest.data,
            "data_fingerprint": manifest.data_fingerprint,
        },
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
        values["imagenet_s"] = dataclasses.asdict(result.imagenet_s)
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


def print_scores(results: Sequence[ProtocolScores], store: PredictionStore, console: "Console") -> None:
    """Print the protocols side by side, what must be known to read them, and the classes."""
    from rich.markup import escape
    from rich.table import Table

    with_split = any(result.split_means is not None for result in results)
    table = Table(title=f"{store.folder}: {results[0].num_images:,} images", highlight=False)
    table.add_column("protocol", overflow="fold", min_width=20)
    for heading in ("IoU %", "95 % over images", "classes"):
        table.add_column(heading, justify="right")
    table.add_column("averaged as")
    table.add_column("pixels %", justify="right")
    for heading in ("seen", "unseen", "harmonic") if with_split else ():
        table.add_column(heading, justify="right")
    for result in results:
        row = [
            escape(result.protocol.name),
            percent(result.headline),
            _range(result.intervals.low[0], result.intervals.high[0]),
            f"{result.num_averaged} of {len(result.names)}",
            _AVERAGED[result.protocol.averaging],
            percent(result.scores.pixel_accuracy),
        ]
        means = result.split_means or (float("nan"),) * 3
        table.add_row(*row, *(percent(mean) for mean in means if with_split))
    console.print(table)
    console.print(_made_with(store), style="dim", markup=False, highlight=False)
    for note in store_notes(store):
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    for result in results:
        if (more := result.imagenet_s) is not None:
            sizes = ", ".join(percent(value) for value in more.mean_iou_by_size)
            text = f"image accuracy {percent(more.image_accuracy)}, F-measure {percent(more.f_measure)}, IoU by size {sizes}"
            console.print(f"{result.asked.name}: {text}", markup=False, highlight=False)
        for note in result.notes:
            console.print(f"{result.asked.name}: {note}", style="dim", markup=False, highlight=False)
    _print_classes(results, console)


def _made_with(store: PredictionStore) -> str:
    """Say in a line what the predictions were made with."""
    settings = store.manifest.settings
    wanted = ("model", "prompts", "short_side", "window", "background", "threshold", "refine")
    facts = [f"{key} {settings[key]}" for key in wanted if settings.get(key) is not None]
    return ", ".join([*facts, f"split {store.manifest.split or 'none'}", f"names {names_checksum(store)}"])


def _print_classes(results: Sequence[ProtocolScores], console: "Console") -> None:
    """Print IoU of every class under every protocol, the best first."""
    from rich.markup import escape
    from rich.table import Table

    first = results[0]
    table = Table(title="IoU % of classes, best first", highlight=False)
    table.add_column("class")
    for result in results:
        table.add_column(escape(result.asked.name), justify="right", overflow="fold")
    table.add_column("95 %", justify="right")
    columns = [dict(zip(result.names, result.scores.iou.tolist(), strict=True)) for result in results]
    iou = np.nan_to_num(first.scores.iou, nan=-1)
    order = [label for label in np.argsort(-iou, kind="stable").tolist() if iou[label] >= 0]
    for label in order[:MAX_CLASS_ROWS]:
        name = first.names[label]
        cells = [percent(column.get(name, float("nan"))) for column in columns]
        interval = _range(first.class_intervals.low[label], first.class_intervals.high[label])
        table.add_row(escape(name), *cells, interval)
    if len(order) > MAX_CLASS_ROWS:
        table.caption = f"{len(order) - MAX_CLASS_ROWS} more: --json FILE has them"
    console.print(table)


def percent(value: float) -> str:
    """Write a fraction in per cent with two decimals; a dash where undefined."""
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _range(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
