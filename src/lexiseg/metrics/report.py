"""Report: the scores of one evaluation, as JSON for machines and as tables for people."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lexiseg.core.atomic_write import atomic_path
from lexiseg.metrics.iou import Scores

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_CLASS_ROWS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """Scores with all that is needed to compare them.

    Attributes:
        scores: From the confusion matrix of the whole data set.
        names: Class names in label order.
        num_images: Images scored.
        settings: Model, data fingerprint and every inference setting.
    """

    scores: Scores
    names: Sequence[str]
    num_images: int
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        assert len(self.names) == self.scores.iou.size, (
            f"{len(self.names)} names, {self.scores.iou.size} classes"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values: fractions in [0, 1], None where undefined."""
        scores = self.scores
        values: dict[str, float | None] = {
            "mean_iou": scores.mean_iou,
            "mean_iou_present": scores.mean_iou_present,
            "mean_iou_all": scores.mean_iou_all,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            "frequency_weighted_iou": scores.frequency_weighted_iou,
        }
        if scores.seen is not None:
            values["seen_mean_iou"] = scores.seen_mean_iou
            values["unseen_mean_iou"] = scores.unseen_mean_iou
            values["harmonic_iou"] = scores.harmonic_iou
        per_class = [
            {
                "name": name,
                "iou": _number(scores.iou[label]),
                "accuracy": _number(scores.accuracy[label]),
                "true_pixels": int(scores.true_pixels[label]),
                "predicted_pixels": int(scores.predicted_pixels[label]),
            }
            for label, name in enumerate(self.names)
        ]
        return {
            **{key: _number(value) for key, value in values.items()},
            "per_class": per_class,
            "num_classes": len(self.names),
            "num_images": self.num_images,
            "settings": dict(self.settings),
        }


def write_report(report: Report, path: str | Path, *, unrefined: Report | None = None) -> None:
    """Write the report as JSON, whole or not at all.

    Args:
        report: The scores.
        path: The file.
        unrefined: The same without refinement, put beside it under that name.

    Raises:
        OutputError: The folder cannot be written.
    """
    content = report.as_json()
    if unrefined is not None:
        content["unrefined"] = unrefined.as_json()
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def print_report(report: Report, console: "Console") -> None:
    """Print the means, each with the classes it averages, then the classes from best to worst.

    With more than 24 classes that have an IoU, the 12 best and the 12 worst are shown.
    """
    console.print(_means_table(report))
    console.print(_classes_table(report))


def _means_table(report: Report) -> "Table":
    from rich.table import Table

    scores = report.scores
    defined = ~np.isnan(scores.iou)
    num_present = int((scores.true_pixels > 0).sum())
    num_pixels = f"{int(scores.true_pixels.sum()):,} scored pixels"
    rows: list[tuple[str, float | None, str]] = [
        (
            "mean_iou",
            scores.mean_iou,
            f"{defined.sum()} classes that occur or are predicted (mmsegmentation)",
        ),
        ("mean_iou_present", scores.mean_iou_present, f"{num_present} classes that occur (detectron2)"),
        (
            "mean_iou_all",
            scores.mean_iou_all,
            f"all {len(report.names)} classes, without pixels = 0 (ImageNet-S)",
        ),
        ("pixel_accuracy", scores.pixel_accuracy, num_pixels),
        ("mean_accuracy", scores.mean_accuracy, f"{num_present} classes that occur"),
        (
            "frequency_weighted_iou",
            scores.frequency_weighted_iou,
            f"{num_present} classes that occur, by pixels",
        ),
    ]
    if scores.seen is not None and scores.unseen is not None:
        num_seen, num_unseen = (defined[sorted(side)].sum() for side in (scores.seen, scores.unseen))
        what = "classes that occur or are predicted"
        rows += [
            (
                "seen_mean_iou",
                scores.seen_mean_iou,
                f"{num_seen} of {len(scores.seen)} seen {what}",
            ),
            (
                "unseen_mean_iou",
                scores.unseen_mean_iou,
                f"{num_unseen} of {len(scores.unseen)} unseen {what}",
            ),
            ("harmonic_iou", scores.harmonic_iou, "harmonic mean of these two"),
        ]
    table = Table(title=f"{report.num_images:,} images, {len(report.names):,} classes")
    table.add_column("score")
    table.add_column("%", justify="right")
    table.add_column("mean over")
    for name, value, over in rows:
        table.add_row(name, _percent(value), over, style="bold" if name == "mean_iou" else None)
    return table


def _classes_table(report: Report) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    scores = report.scores
    labels = np.flatnonzero(~np.isnan(scores.iou))
    order = labels[np.lexsort((labels, -scores.true_pixels[labels], -scores.iou[labels]))].tolist()
    num_undefined = len(report.names) - len(order)
    table = Table(
        title="Classes, best first",
        caption=f"{num_undefined:,} classes neither occur nor are predicted" if num_undefined else None,
    )
    table.add_column("class")
    for heading in ("IoU %", "accuracy %", "true pixels", "predicted pixels"):
        table.add_column(heading, justify="right")
    num_hidden = len(order) - MAX_CLASS_ROWS if len(order) > MAX_CLASS_ROWS else 0
    for rank, label in enumerate(order):
        if num_hidden and MAX_CLASS_ROWS // 2 <= rank < MAX_CLASS_ROWS // 2 + num_hidden:
            if rank == MAX_CLASS_ROWS // 2:
                table.add_row(f"… {num_hidden:,} more …", "", "", "", "", style="dim")
            continue
        table.add_row(
            escape(report.names[label]),
            _percent(scores.iou[label]),
            _percent(scores.accuracy[label]),
            f"{scores.true_pixels[label]:,}",
            f"{scores.predicted_pixels[label]:,}",
        )
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _plain(value: object) -> object:
    """Turn what settings may hold into what JSON can."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
