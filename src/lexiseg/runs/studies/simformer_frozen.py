"""SimFormer's tables above frozen features: cells of seconds to minutes, an image being encoded once."""

import itertools
from collections.abc import Mapping
from typing import Any

from lexiseg.runs.studies.simformer import (
    ALL_MASKS,
    BASIC,
    LOUDER,
    UPPER,
    WHATEVER,
    column_of,
    learns_in,
    ordering,
)
from lexiseg.runs.studies.study import Ablation, Cell, Claim

_RECIPE = "simformer/folder-frozen"
#: A quarter of the classes, as in the paper's S1 to S4; its S4 to S9.
_QUARTER: dict[str, Any] = {"data.unseen_share": 0.25}
SHARES = (0.25, 0.30, 0.35, 0.40, 0.45, 0.50)
#: The folder shows all masks, and those of unseen classes are not to be seen.
_OF_FULL_MASKS: dict[str, Any] = {"data.unseen_masks": "hide"}
_MEASURES = ("unseen_mean_iou_present", "seen_mean_iou_present", "mean_iou")
#: Half the recipe's points: a quarter of the pairs, which are half the time of a step. Their number hardly matters.
_TAUGHT: dict[str, Any] = {**LOUDER, "method.num_points": 16}
#: Those that say most come first: a run may be stopped.
_ROWS: dict[str, dict[str, Any]] = {
    **UPPER,
    "Basic": BASIC,
    "cosine teacher": {**_TAUGHT, "method.teacher": "cosine"},
    "Cross-Pair": _TAUGHT | WHATEVER,
    "oracle teacher": {**_TAUGHT, "method.teacher": "oracle", "data.batches.truth": True},
    "shuffled teacher": {**_TAUGHT, "method.teacher": "shuffled"},
    "Self-Pair": {**_TAUGHT, "method.pairs": "self"},
    "no complementary loss": {**BASIC, "method.complementary": 0.0},
    "Cross-Pair, re-trained": _TAUGHT | WHATEVER,
}
_CLAIMS = (
    ("Self-Pair beats Basic (published: +0.85)", "Self-Pair", "Basic"),
    ("Cross-Pair beats Self-Pair (published: +2.35)", "Cross-Pair", "Self-Pair"),
    ("Cross-Pair beats Basic (published: +3.2)", "Cross-Pair", "Basic"),
    ("the cosine of the embeddings teaches better than nothing", "cosine teacher", "Basic"),
    ("SimNet teaches better than the cosine of the embeddings", "Cross-Pair", "cosine teacher"),
    ("SimNet teaches better than its own answers shuffled", "Cross-Pair", "shuffled teacher"),
    ("the truth teaches better than SimNet", "oracle teacher", "Cross-Pair"),
    ("the complementary loss helps", "Basic", "no complementary loss"),
    ("re-training helps", "Cross-Pair, re-trained", "Cross-Pair"),
    ("all masks are the upper end", ALL_MASKS, "Cross-Pair"),
)


def frozen() -> Ablation:
    """Compare where pairs come from and who teaches, above frozen features, in a world that --data gives.

    A quarter of the classes has tags only. What a teacher can know of classes it never saw a mask of is decided by
    the features and by how many classes it did see: run it in a world of many classes and in one of few.
    """
    return _teachers("simformer/frozen", "in a world that --data gives", _QUARTER)


def frozen_divided() -> Ablation:
    """Compare the same in a folder whose seen.txt divides the classes, such as photographs."""
    return _teachers("simformer/frozen-divided", "in a folder whose seen.txt divides the classes", {})


def _teachers(name: str, where: str, division: Mapping[str, Any]) -> Ablation:
    return Ablation(
        name=name,
        title=f"Where pairs of pixels come from (Table 2 of the paper), above frozen features: {where}",
        recipe=_RECIPE,
        cells=tuple(
            Cell(
                row=row,
                trained_with={**division, **_OF_FULL_MASKS, **change},
                retrained=row.endswith("re-trained"),
            )
            for row, change in _ROWS.items()
        ),
        measures=_MEASURES,
        claims=tuple(ordering(says, (more, ""), (less, "")) for says, more, less in _CLAIMS),
        learns=(learns_in(""),),
        needs_data=True,
    )


def frozen_splits() -> Ablation:
    """Turn more and more classes unseen above frozen features; train again on pseudo masks; compare with all masks."""
    cells = [
        Cell(
            row=row,
            column=column_of(share),
            trained_with={**_OF_FULL_MASKS, **LOUDER, **WHATEVER, "data.unseen_share": share},
            retrained=row == "SimFormer*",
        )
        for share in SHARES
        for row in ("SimFormer", "SimFormer*")
    ]
    cells += [
        Cell(
            row=row,
            column=column_of(share),
            trained_with={**_QUARTER, **_OF_FULL_MASKS, **UPPER[row]},
            measured_with={"data.unseen_share": share},
        )
        for row in UPPER
        for share in SHARES
    ]
    first, last = column_of(SHARES[0]), column_of(SHARES[-1])
    claims = [
        ordering(
            f"re-training helps with {column_of(share)} (published: +0.4 to +2.2)",
            ("SimFormer*", column_of(share)),
            ("SimFormer", column_of(share)),
        )
        for share in SHARES
    ]
    claims += [
        ordering(
            "unseen classes fall as there are more of them (published: 29.5 to 23.2)",
            ("SimFormer", first),
            ("SimFormer", last),
        ),
        Claim(
            says="the oracle stays flat (published: 34.7 to 36.5)",
            better=(ALL_MASKS, first),
            worse=(ALL_MASKS, last),
            by_at_most=0.05,
        ),
    ]
    return Ablation(
        name="simformer/frozen-splits",
        title="A growing share of unseen classes (Table 3 of the paper), above frozen features",
        recipe=_RECIPE,
        cells=tuple(cells),
        measures=_MEASURES,
        claims=tuple(claims),
        learns=tuple(learns_in(column_of(share)) for share in SHARES),
        needs_data=True,
    )


def frozen_points() -> Ablation:
    """Change the number of sampled points above frozen features: half, all and twice of what the recipe takes."""
    counts = 16, 32, 64
    common = {**_QUARTER, **_OF_FULL_MASKS}
    cells = tuple(
        Cell(row=f"J = {count}", trained_with={**common, **LOUDER, "method.num_points": count})
        for count in counts
    )
    cells += tuple(Cell(row=row, trained_with={**common, **change}) for row, change in UPPER.items())
    return Ablation(
        name="simformer/frozen-points",
        title="Number of sampled points (Table 1 of the paper), above frozen features",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=tuple(
            Claim(
                says=f"{more} points are close to {fewer} (published, 50 to 100 to 150: within 0.4)",
                better=(f"J = {more}", ""),
                worse=(f"J = {fewer}", ""),
                by_at_most=0.02,
            )
            for fewer, more in itertools.pairwise(counts)
        ),
        learns=(learns_in(""),),
        needs_data=True,
    )
