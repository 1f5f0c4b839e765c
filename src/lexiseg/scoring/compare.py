"""Two stores against each other: the difference of every class, with a paired interval."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from lexiseg.core.errors import DatasetError
from lexiseg.metrics.bootstrap import RESAMPLES, SEED, Intervals, paired_intervals
from lexiseg.scoring.score import ProtocolScores, class_intervals, make_statistic
from lexiseg.scoring.store.predictions import Predictions
from lexiseg.scoring.tables import percent, print_whole

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreDifference:
    """The second run minus the first, on the same images.

    Attributes:
        first: Scores of the first.
        second: Scores of the second.
        iou: Difference of each class's IoU.
        interval: 95 % over images of the headline's difference.
        class_interval: The same of each class.
    """

    first: ProtocolScores
    second: ProtocolScores
    iou: Float64[np.ndarray, " K"]
    interval: tuple[float, float]
    class_interval: Intervals

    @property
    def headline(self) -> float:
        """Return the difference of the means."""
        return self.second.headline - self.first.headline


def refuse_incomparable(first: Predictions, second: Predictions) -> None:
    """Refuse stores of different data.

    Raises:
        DatasetError: Classes, images or label files differ.
    """
    a, b = first.manifest, second.manifest
    for what, left, right in (
        ("classes", a.classes, b.classes),
        ("images", a.stems, b.stems),
        ("label files", a.data_fingerprint, b.data_fingerprint),
        ("finished images", first.stems, second.stems),
    ):
        if left != right:
            raise DatasetError(
                doing=f"comparing {first.title} and {second.title}",
                found=f"different {what}",
                expected="two models' predictions of the same data set",
                fix="Predict both with the same --data and --split, each to its end.",
            )


def difference(
    first: ProtocolScores, second: ProtocolScores, *, resamples: int = RESAMPLES, seed: int = SEED
) -> ScoreDifference:
    """Compare two runs that were scored under one protocol, draw by draw of the same images."""
    statistic = make_statistic(first.asked, first.sides)
    num_classes = len(first.names)
    spread = paired_intervals(
        first.margins, second.margins, num_classes, statistic, resamples=resamples, seed=seed
    )
    return ScoreDifference(
        first=first,
        second=second,
        iou=second.scores.iou - first.scores.iou,
        interval=(float(spread.low[0]), float(spread.high[0])),
        class_interval=class_intervals(first.margins, spread, num_classes),
    )


def difference_json(found: ScoreDifference) -> dict[str, Any]:
    """Return the comparison as plain values."""
    spread = found.class_interval
    rows = zip(found.first.names, found.iou.tolist(), spread.low.tolist(), spread.high.tolist(), strict=True)
    return {
        "protocol": found.first.asked.name,
        "first": found.first.protocol.name,
        "second": found.second.protocol.name,
        "metric": found.first.metric.key,
        "difference": found.headline,
        "interval": list(found.interval),
        "per_class": [
            {"name": name, "difference": _number(value), "interval": [_number(low), _number(high)]}
            for name, value, low, high in rows
        ],
    }


def print_difference(found: ScoreDifference, console: "Console") -> None:
    """Print the difference of the means and of the classes, largest gain first."""
    from rich.table import Table
    from rich.text import Text

    low, high = found.interval
    verdict = "clear" if low > 0 or high < 0 else "not clear: 0 is inside"
    table = Table(title=f"second minus first, {found.first.asked.name}", highlight=False)
    for heading in ("class", "first %", "second %", "difference", "95 % over images"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    table.add_row(
        f"{found.first.metric.title} ({verdict})", percent(found.first.headline), percent(found.second.headline),
        _signed(found.headline), f"{_signed(low)} to {_signed(high)}", style="bold",
    )  # fmt: skip
    order = np.argsort(-np.nan_to_num(found.iou), kind="stable").tolist()
    changed = [label for label in order if np.nan_to_num(found.iou[label]) != 0]
    table.caption = f"{len(order) - len(changed)} classes do not differ"
    for label in changed:
        ends = found.class_interval.low[label], found.class_interval.high[label]
        table.add_row(
            Text(found.first.names[label]),
            percent(found.first.scores.iou[label]),
            percent(found.second.scores.iou[label]),
            _signed(found.iou[label]),
            "one image" if np.isnan(ends[0]) else " to ".join(_signed(end) for end in ends),
        )
    print_whole(table, console)


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
