"""Scores under several protocols, side by side, for people."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box

from lexiseg.inference.settings import InferenceSettings
from lexiseg.metrics import imagenet_s
from lexiseg.metrics.iou import AVERAGES, METRICS, SPLIT_METRICS
from lexiseg.scoring.report import Report, names_checksum, store_notes
from lexiseg.scoring.score import ProtocolScores
from lexiseg.scoring.store.predictions import Predictions

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_CLASS_ROWS = 40

_STYLE: dict[str, Any] = {
    "box": box.SIMPLE_HEAD, "show_edge": False, "padding": (0, 1, 0, 0), "highlight": False,
}  # fmt: skip


def print_report(report: Report, console: "Console") -> None:
    """Print the protocols side by side, what must be known to read them, and the classes."""
    from rich.table import Table
    from rich.text import Text

    results, store, truth = report.results, report.store, report.truth
    table = Table(title=Text(f"{store.title}: {report.num_images:,} images", style="table.title"), **_STYLE)
    _add_protocol_column(table, console)
    for heading in ("IoU %", "95 % over images", "classes", "averaged as", "pixels %"):
        table.add_column(heading, justify="left" if heading == "averaged as" else "right")
    for result in results:
        table.add_row(
            Text(result.protocol.name),
            percent(result.headline),
            _range(result.intervals.low[0], result.intervals.high[0]),
            f"{result.num_averaged} of {len(result.names)}",
            result.metric.convention,
            percent(result.scores.pixel_accuracy),
        )
    print_whole(table, console)
    _print_splits(results, console)
    means = {metric.key for metric in AVERAGES.values()}
    others = [
        f"{metric.title} {percent(getattr(report.scores, metric.key))}"
        for metric in METRICS
        if metric.key not in means
    ]
    plain: dict[str, Any] = {"markup": False, "highlight": False}
    console.print(f"{results[0].asked.name}, %: {', '.join(others)}", **plain)
    console.print(_made_with(store), style="dim", **plain)
    if truth is not None:
        console.print(f"true label maps read in {truth.path}", style="dim", **plain)
    for note in store_notes(store):
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
    for result in results:
        if (more := result.imagenet_s) is not None:
            text = "; ".join(
                f"{metric.title} {_percents(getattr(more, metric.key))}" for metric in imagenet_s.METRICS
            )
            console.print(f"{result.asked.name}: {text}", markup=False, highlight=False)
        for note in result.notes:
            console.print(f"{result.asked.name}: {note}", style="dim", markup=False, highlight=False)
    _print_classes(results, console)


def _print_splits(results: Sequence[ProtocolScores], console: "Console") -> None:
    """Print means of seen and unseen classes where a protocol or the data has a split."""
    from rich.table import Table
    from rich.text import Text

    split = [(result.protocol.name, result.split_means) for result in results if result.split_means]
    if not split:
        return
    table = Table(title="IoU % by split of classes", **_STYLE)
    _add_protocol_column(table, console)
    for metric in SPLIT_METRICS:
        table.add_column(metric.title, justify="right")
    for name, means in split:
        table.add_row(Text(name), *map(percent, means))
    print_whole(table, console)


def _add_protocol_column(table: "Table", console: "Console") -> None:
    # long names are folded so that the numbers beside them stay in one line
    table.add_column("protocol", overflow="fold", min_width=16, max_width=max(20, console.width - 60))


def print_whole(table: "Table", console: "Console") -> None:
    """Print a table without cutting or breaking any word, over the console's edge where it is too narrow."""
    from rich.measure import Measurement

    unbounded = console.options.update(max_width=1000)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:  # numbers and intervals stay in one line
        cells = (Measurement.get(console, unbounded, cell).maximum for cell in column.cells)
        column.min_width = max(cells, default=None)
    width = console.width
    try:
        console.width = max(width, table.__rich_measure__(console, unbounded).minimum)
        console.print(table, crop=False)
    finally:
        console.width = width


def _made_with(store: Predictions) -> str:
    """Say in a line what the predictions were made with."""
    settings = store.manifest.settings
    wanted = ("model", "variant", *(field.name for field in fields(InferenceSettings)))
    facts = [f"{key} {settings[key]}" for key in wanted if settings.get(key) is not None]
    return ", ".join([*facts, f"split {store.manifest.split or 'none'}", f"names {names_checksum(store)}"])


def _print_classes(results: Sequence[ProtocolScores], console: "Console") -> None:
    """Print IoU of every class, the best first, in a column for all protocols that count classes alike."""
    from rich.table import Table
    from rich.text import Text

    first = results[0]
    differing: list[ProtocolScores] = []
    for result in results:
        if not any(_same_classes(result, other) for other in differing):
            differing.append(result)
    results = differing
    table = Table(title="IoU % of classes, best first", **_STYLE)
    table.add_column("class")
    widest = max(8, (console.width - 40) // len(results) - 3)
    for result in results:
        heading = Text(result.asked.name) if len(results) > 1 else "IoU %"
        table.add_column(heading, justify="right", max_width=widest)
    table.add_column("95 %", justify="right")
    columns = [dict(zip(result.names, result.scores.iou.tolist(), strict=True)) for result in results]
    iou = np.nan_to_num(first.scores.iou, nan=-1)
    order = [label for label in np.argsort(-iou, kind="stable").tolist() if iou[label] >= 0]
    for label in order[:MAX_CLASS_ROWS]:
        name = first.names[label]
        cells = [percent(column.get(name, float("nan"))) for column in columns]
        interval = _range(first.class_intervals.low[label], first.class_intervals.high[label])
        table.add_row(Text(name), *cells, interval)
    if len(order) > MAX_CLASS_ROWS:
        table.caption = f"{len(order) - MAX_CLASS_ROWS} more: --json FILE has them"
    print_whole(table, console)


def _same_classes(one: ProtocolScores, other: ProtocolScores) -> bool:
    return one.names == other.names and np.array_equal(one.scores.iou, other.scores.iou, equal_nan=True)


def percent(value: float) -> str:
    """Write a fraction in per cent with two decimals; a dash where undefined."""
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _range(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}"


def _percents(values: float | Sequence[float]) -> str:
    return ", ".join(percent(value) for value in (values if isinstance(values, Sequence) else [values]))
