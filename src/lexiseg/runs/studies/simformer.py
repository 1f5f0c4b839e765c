"""SimFormer's tables: where pairs come from, how many points, how many unseen classes."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lexiseg.runs.studies.study import Ablation, Cell, Claim, Learns, Place

_RECIPE = "simformer/scenes"
#: Photographs at a size that two CPU cores train in minutes.
_SMALL_PHOTOGRAPHS = {
    "data.crop.size": 128,
    "short_side": 128,
    "network.width": 64,
    "network.feedforward": 256,
    "method.num_points": 32,
    "optim.lr": 1e-3,
}
_MEASURES = ("unseen_mean_iou", "seen_mean_iou", "mean_iou")
BASIC = {"method.pairs": "none"}
_ALL_MASKS: dict[str, Any] = {**BASIC, "data.all_masks": True}
#: In every table: all masks, and what the same backbone and pixel decoder learn from them without proposals.
ALL_MASKS, PER_PIXEL = "all masks", "per-pixel classifier, all masks"
_PER_PIXEL: dict[str, Any] = {**_ALL_MASKS, "classifier": "pixels"}
UPPER: dict[str, dict[str, Any]] = {ALL_MASKS: _ALL_MASKS, PER_PIXEL: _PER_PIXEL}
#: Ten times the paper's weight: short training wants a louder teacher.
LOUDER: dict[str, Any] = {"method.distillation": 1.0}
#: What comes out is measured, also where a class got no pseudo mask.
WHATEVER: dict[str, Any] = {"pseudo_masks.min_pixels": 0}
#: Least effect of an ordering: half a point of mean IoU, less than which the paper's own rows of one method differ.
LEAST = 0.005
#: Shares of unseen classes for the splits; the sets are nested.
_SHARES = (0.25, 0.5)


def pairs() -> Ablation:
    """Compare where pairs of pixels come from, and teachers that are wrong or perfect on purpose.

    A quarter of the classes has no masks, as in the paper, at the paper's weight of the distillation; then
    half of them with a louder teacher.
    """
    rows = "Basic", "Self-Pair", "Cross-Pair"
    masked, shuffled, oracle = "Cross-Pair, both pixels with masks", "shuffled teacher", "oracle teacher"
    changes: dict[str, dict[str, Any]] = {
        rows[0]: BASIC,
        rows[1]: {"method.pairs": "self"},
        rows[2]: {},
        masked: {"method.unlabelled_differ": False},
        shuffled: {"method.teacher": "shuffled"},
        oracle: {"method.teacher": "oracle", "data.batches.truth": True},
        "no complementary loss": {**BASIC, "method.complementary": 0.0},
        **UPPER,
    }
    few, many = column_of(0.25), f"{column_of(0.5)}, distillation 1"
    cells = [Cell(row=row, column=few, trained_with=change) for row, change in changes.items()]
    louder = _unseen(0.5) | LOUDER
    cells += [
        Cell(
            row=row,
            column=many,
            trained_with=_unseen(0.5) | change if row in (rows[0], *UPPER) else louder | change,
        )
        for row, change in changes.items()
        if row in (*rows, masked, shuffled, oracle, *UPPER)
    ]
    seeds: dict[tuple[str, str], tuple[int, ...]] = {(row, few): (0, 1) for row in (masked, shuffled, oracle)}
    seeds |= {(row, few): (0,) for row in ("no complementary loss", *UPPER)}
    seeds |= {(oracle, many): (0, 1), (masked, many): (0,), (shuffled, many): (0,)}
    seeds |= {(row, many): (0,) for row in UPPER}
    claims = []
    for column in (few, many):
        basic, own, cross = ((row, column) for row in rows)
        claims += [
            ordering(f"{column}: Self-Pair beats Basic (published: +0.85)", own, basic),
            ordering(f"{column}: Cross-Pair beats Self-Pair (published: +2.35)", cross, own),
            ordering(f"{column}: Cross-Pair beats Basic (published: +3.2)", cross, basic),
            ordering(
                f"{column}: SimNet teaches better than its own answers shuffled", cross, (shuffled, column)
            ),
            ordering(f"{column}: the truth teaches better than SimNet", (oracle, column), cross),
            Claim(
                says=f"{column}: seen classes hardly change between Basic and Cross-Pair",
                better=cross,
                worse=basic,
                measure="seen_mean_iou",
                by_at_most=0.02,
            ),
        ]
    claims += [
        ordering("the complementary loss helps", (rows[0], few), ("no complementary loss", few)),
        ordering("all masks are the upper end", (ALL_MASKS, few), (rows[2], few)),
    ]
    published = {("Basic", few): 26.33, ("Self-Pair", few): 27.18, ("Cross-Pair", few): 29.53}
    return Ablation(
        name="simformer/pairs",
        title="Where pairs of pixels come from (Table 2 of the paper)",
        recipe=_RECIPE,
        cells=tuple(replace(cell, seeds=seeds.get((cell.row, cell.column))) for cell in cells),
        measures=_MEASURES,
        claims=tuple(claims),
        learns=(learns_in(few), learns_in(many)),
        published=published,
    )


def points() -> Ablation:
    """Change the number of sampled points: half, all and twice of what scenes of 64×64 pixels take.

    The paper's 50, 100 and 150 are for crops of 640×640; 100 take two seconds a step on one core.
    """
    counts = 16, 32, 64
    cells = tuple(Cell(row=f"J = {count}", trained_with={"method.num_points": count}) for count in counts)
    cells += tuple(Cell(row=row, trained_with=change) for row, change in UPPER.items())
    claims = tuple(
        Claim(
            says=f"{more} points are close to {fewer} (published, 50 to 100 to 150: within 0.4)",
            better=(f"J = {more}", ""),
            worse=(f"J = {fewer}", ""),
            by_at_most=0.02,
        )
        for fewer, more in itertools.pairwise(counts)
    )
    return Ablation(
        name="simformer/points",
        title="Number of sampled points (Table 1 of the paper)",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=claims,
        learns=(learns_in(""),),
    )


def splits() -> Ablation:
    """Turn more and more classes unseen; train again on pseudo masks; compare with all masks."""
    rows = "SimFormer", "SimFormer*", *UPPER
    cells = tuple(
        Cell(
            row=row,
            column=column_of(share),
            trained_with=_unseen(share) | UPPER.get(row, LOUDER | WHATEVER),
            retrained=row == rows[1],
        )
        for row in rows
        for share in _SHARES
    )
    few, many = (column_of(share) for share in _SHARES)
    claims = [
        ordering(f"re-training helps with {column}", ("SimFormer*", column), ("SimFormer", column))
        for column in (few, many)
    ]
    claims += [
        ordering(
            "unseen classes fall as there are more of them (published: 29.5 to 23.2)",
            ("SimFormer", few),
            ("SimFormer", many),
        ),
        Claim(
            says="the oracle stays flat (published: 34.7 to 36.5)",
            better=("all masks", few),
            worse=("all masks", many),
            by_at_most=0.05,
        ),
    ]
    return Ablation(
        name="simformer/splits",
        title="A growing share of unseen classes (Table 3 of the paper)",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=tuple(claims),
        learns=tuple(learns_in(column_of(share)) for share in _SHARES),
    )


def clothing() -> Ablation:
    """Compare on photographs of dressed people; five garments have tags only."""
    changes: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("Basic", BASIC),
        ("Self-Pair", {"method.pairs": "self", **LOUDER}),
        ("Cross-Pair", LOUDER | WHATEVER),
        ("Cross-Pair, re-trained", LOUDER | WHATEVER),
        *UPPER.items(),
    )
    cells = tuple(
        Cell(row=row, trained_with={**_SMALL_PHOTOGRAPHS, **change}, retrained=row.endswith("re-trained"))
        for row, change in changes
    )
    orderings = (
        ("Self-Pair beats Basic", "Self-Pair", "Basic"),
        ("Cross-Pair beats Self-Pair", "Cross-Pair", "Self-Pair"),
        ("Cross-Pair beats Basic", "Cross-Pair", "Basic"),
        ("re-training helps", "Cross-Pair, re-trained", "Cross-Pair"),
        ("all masks are the upper end", "all masks", "Cross-Pair, re-trained"),
    )
    return Ablation(
        name="simformer/clothing",
        title="Garments with tags only, in photographs",
        recipe="simformer/clothing",
        cells=cells,
        measures=("unseen_mean_iou_present", "seen_mean_iou_present", "mean_iou"),
        learns=(learns_in(""),),
        claims=tuple(ordering(says, (more, ""), (less, "")) for says, more, less in orderings),
        seeds=(0,),
        needs_data=True,
    )


def learning() -> Ablation:
    """Ask with all masks whether the recipe learns: proposals as published, and as the recipe has them.

    No class is unseen here. Each of the two differences alone, both, and the per-pixel classifier.
    """
    zeros, by_loss = {"network.learned_start": False}, {"method.matching_classification": None}
    rows: dict[str, dict[str, Any]] = {
        "as published": {**_ALL_MASKS, **zeros, **by_loss},
        "learned start": {**_ALL_MASKS, **by_loss},
        "class cost 20": {**_ALL_MASKS, **zeros},
        **UPPER,
    }
    return Ablation(
        name="simformer/learning",
        title="Does the recipe learn what its features allow? All masks",
        recipe=_RECIPE,
        cells=tuple(Cell(row=row, trained_with=change) for row, change in rows.items()),
        measures=("mean_iou",),
        claims=(ordering("learned start and class cost help", (ALL_MASKS, ""), ("as published", "")),),
        learns=(learns_in(""),),
    )


def ordering(says: str, better: Place, worse: Place) -> Claim:
    """Return the claim that a cell is higher than another by the least effect or more."""
    return Claim(says=says, better=better, worse=worse, by_at_least=LEAST)


def learns_in(column: str) -> Learns:
    """Return what has to hold before an ordering in a column is claimed."""
    return Learns(reaches=(ALL_MASKS, column), of=(PER_PIXEL, column))


def column_of(share: float) -> str:
    """Return the heading of a column."""
    return f"{share:.0%} unseen"


def _unseen(share: float) -> dict[str, Any]:
    return {"data.scenes.unseen": (), "data.scenes.unseen_share": share, "data.scenes.pairs": ()}
