"""SimFormer's tables: where pairs come from, how many points, how many unseen classes."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lexiseg.runs.studies.study import Ablation, Cell, Claim, Learns

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
_BASIC = {"method.pairs": "none"}
_ALL_MASKS: dict[str, Any] = {**_BASIC, "data.all_masks": True}
#: In every table: all masks, and what the same backbone and pixel decoder learn from them without proposals.
ALL_MASKS, PER_PIXEL = "all masks", "per-pixel classifier, all masks"
_PER_PIXEL: dict[str, Any] = {**_ALL_MASKS, "classifier": "pixels"}
_UPPER: dict[str, dict[str, Any]] = {ALL_MASKS: _ALL_MASKS, PER_PIXEL: _PER_PIXEL}
#: Ten times the paper's weight: short training wants a louder teacher.
_LOUDER: dict[str, Any] = {"method.distillation": 1.0}
#: Cells of seconds to minutes: above frozen features that are computed once.
FROZEN = "simformer/folder-frozen"
#: What comes out is measured, also where a class got no pseudo mask.
_WHATEVER: dict[str, Any] = {"pseudo_masks.min_pixels": 0}
#: A quarter of the classes, as in the paper's S1 to S4; its S4 to S9.
_FROZEN_SPLIT: dict[str, Any] = {"data.unseen_share": 0.25}
FROZEN_SHARES = (0.25, 0.30, 0.35, 0.40, 0.45, 0.50)
#: The folder shows all masks, and those of unseen classes are not to be seen.
_OF_FULL_MASKS: dict[str, Any] = {"data.unseen_masks": "hide"}
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
        rows[0]: _BASIC,
        rows[1]: {"method.pairs": "self"},
        rows[2]: {},
        masked: {"method.unlabelled_differ": False},
        shuffled: {"method.teacher": "shuffled"},
        oracle: {"method.teacher": "oracle", "data.batches.truth": True},
        "no complementary loss": {**_BASIC, "method.complementary": 0.0},
        **_UPPER,
    }
    few, many = _column(0.25), f"{_column(0.5)}, distillation 1"
    cells = [Cell(row=row, column=few, trained_with=change) for row, change in changes.items()]
    louder = _unseen(0.5) | _LOUDER
    cells += [
        Cell(
            row=row,
            column=many,
            trained_with=_unseen(0.5) | change if row in (rows[0], *_UPPER) else louder | change,
        )
        for row, change in changes.items()
        if row in (*rows, masked, shuffled, oracle, *_UPPER)
    ]
    seeds: dict[tuple[str, str], tuple[int, ...]] = {(row, few): (0, 1) for row in (masked, shuffled, oracle)}
    seeds |= {(row, few): (0,) for row in ("no complementary loss", *_UPPER)}
    seeds |= {(oracle, many): (0, 1), (masked, many): (0,), (shuffled, many): (0,)}
    seeds |= {(row, many): (0,) for row in _UPPER}
    claims = []
    for column in (few, many):
        basic, own, cross = ((row, column) for row in rows)
        claims += [
            Claim(says=f"{column}: Self-Pair beats Basic (published: +0.85)", better=own, worse=basic),
            Claim(says=f"{column}: Cross-Pair beats Self-Pair (published: +2.35)", better=cross, worse=own),
            Claim(says=f"{column}: Cross-Pair beats Basic (published: +3.2)", better=cross, worse=basic),
            Claim(
                says=f"{column}: a shuffled teacher is no better than Basic",
                better=basic,
                worse=(shuffled, column),
            ),
            Claim(
                says=f"{column}: an oracle teacher is at least as good", better=(oracle, column), worse=cross
            ),
            Claim(
                says=f"{column}: seen classes hardly change between Basic and Cross-Pair",
                better=cross,
                worse=basic,
                measure="seen_mean_iou",
                by_at_most=0.02,
            ),
        ]
    claims += [
        Claim(
            says="the complementary loss helps", better=(rows[0], few), worse=("no complementary loss", few)
        ),
        Claim(says="all masks are the upper end", better=(ALL_MASKS, few), worse=(rows[2], few)),
    ]
    published = {("Basic", few): 26.33, ("Self-Pair", few): 27.18, ("Cross-Pair", few): 29.53}
    return Ablation(
        name="simformer/pairs",
        title="Where pairs of pixels come from (Table 2 of the paper)",
        recipe=_RECIPE,
        cells=tuple(replace(cell, seeds=seeds.get((cell.row, cell.column))) for cell in cells),
        measures=_MEASURES,
        claims=tuple(claims),
        learns=(_learns(few), _learns(many)),
        published=published,
    )


def frozen() -> Ablation:
    """Compare where pairs come from and who teaches, above frozen features, in a world that --data gives.

    A quarter of the classes has tags only. What a teacher can know of classes it never saw a mask of is decided by
    the features and by how many classes it did see: run it in a world of many classes and in one of few.
    """
    rows: dict[str, dict[str, Any]] = {
        "Basic": _BASIC,
        "Cross-Pair": _LOUDER,
        **_UPPER,
        "cosine teacher": {**_LOUDER, "method.teacher": "cosine"},
        "Self-Pair": {**_LOUDER, "method.pairs": "self"},
        "oracle teacher": {**_LOUDER, "method.teacher": "oracle", "data.batches.truth": True},
        "shuffled teacher": {**_LOUDER, "method.teacher": "shuffled"},
        "no complementary loss": {**_BASIC, "method.complementary": 0.0},
    }
    claims = (
        ("Self-Pair beats Basic (published: +0.85)", "Self-Pair", "Basic"),
        ("Cross-Pair beats Self-Pair (published: +2.35)", "Cross-Pair", "Self-Pair"),
        ("Cross-Pair beats Basic (published: +3.2)", "Cross-Pair", "Basic"),
        ("SimNet teaches better than the cosine of the embeddings", "Cross-Pair", "cosine teacher"),
        ("SimNet teaches better than its own answers shuffled", "Cross-Pair", "shuffled teacher"),
        ("the truth teaches better than SimNet", "oracle teacher", "Cross-Pair"),
        ("the complementary loss helps", "Basic", "no complementary loss"),
        ("all masks are the upper end", ALL_MASKS, "Cross-Pair"),
    )
    return Ablation(
        name="simformer/frozen",
        title="Where pairs of pixels come from (Table 2 of the paper), above frozen features",
        recipe=FROZEN,
        cells=tuple(
            Cell(row=row, trained_with={**_FROZEN_SPLIT, **_OF_FULL_MASKS, **change})
            for row, change in rows.items()
        ),
        measures=("unseen_mean_iou_present", "seen_mean_iou_present", "mean_iou"),
        claims=tuple(
            Claim(says=says, better=(more, ""), worse=(less, ""), by_at_least=LEAST)
            for says, more, less in claims
        ),
        learns=(_learns(""),),
        needs_data=True,
    )


def frozen_splits() -> Ablation:
    """Turn more and more classes unseen above frozen features; train again on pseudo masks; compare with all masks."""
    cells = [
        Cell(
            row=row,
            column=_column(share),
            trained_with={**_OF_FULL_MASKS, **_LOUDER, **_WHATEVER, "data.unseen_share": share},
            retrained=row == "SimFormer*",
        )
        for share in FROZEN_SHARES
        for row in ("SimFormer", "SimFormer*")
    ]
    cells += [
        Cell(
            row=row,
            column=_column(share),
            trained_with={**_FROZEN_SPLIT, **_OF_FULL_MASKS, **_UPPER[row]},
            measured_with={"data.unseen_share": share},
        )
        for row in _UPPER
        for share in FROZEN_SHARES
    ]
    first, last = _column(FROZEN_SHARES[0]), _column(FROZEN_SHARES[-1])
    claims = [
        Claim(
            says=f"re-training helps with {_column(share)} (published: +0.4 to +2.2)",
            better=("SimFormer*", _column(share)),
            worse=("SimFormer", _column(share)),
            by_at_least=LEAST,
        )
        for share in FROZEN_SHARES
    ]
    claims += [
        Claim(
            says="unseen classes fall as there are more of them (published: 29.5 to 23.2)",
            better=("SimFormer", first),
            worse=("SimFormer", last),
            by_at_least=LEAST,
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
        recipe=FROZEN,
        cells=tuple(cells),
        measures=("unseen_mean_iou_present", "seen_mean_iou_present", "mean_iou"),
        claims=tuple(claims),
        learns=tuple(_learns(_column(share)) for share in FROZEN_SHARES),
        needs_data=True,
    )


def frozen_points() -> Ablation:
    """Change the number of sampled points above frozen features: half, all and twice of what the recipe takes."""
    counts = 16, 32, 64
    common = {**_FROZEN_SPLIT, **_OF_FULL_MASKS}
    cells = tuple(
        Cell(row=f"J = {count}", trained_with={**common, **_LOUDER, "method.num_points": count})
        for count in counts
    )
    cells += tuple(Cell(row=row, trained_with={**common, **change}) for row, change in _UPPER.items())
    return Ablation(
        name="simformer/frozen-points",
        title="Number of sampled points (Table 1 of the paper), above frozen features",
        recipe=FROZEN,
        cells=cells,
        measures=("unseen_mean_iou_present", "seen_mean_iou_present", "mean_iou"),
        claims=tuple(
            Claim(
                says=f"{more} points are close to {fewer} (published, 50 to 100 to 150: within 0.4)",
                better=(f"J = {more}", ""),
                worse=(f"J = {fewer}", ""),
                by_at_most=0.02,
            )
            for fewer, more in itertools.pairwise(counts)
        ),
        learns=(_learns(""),),
        needs_data=True,
    )


def points() -> Ablation:
    """Change the number of sampled points: half, all and twice of what scenes of 64×64 pixels take.

    The paper's 50, 100 and 150 are for crops of 640×640; 100 take two seconds a step on one core.
    """
    counts = 16, 32, 64
    cells = tuple(Cell(row=f"J = {count}", trained_with={"method.num_points": count}) for count in counts)
    cells += tuple(Cell(row=row, trained_with=change) for row, change in _UPPER.items())
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
        learns=(_learns(""),),
    )


def splits() -> Ablation:
    """Turn more and more classes unseen; train again on pseudo masks; compare with all masks."""
    rows = "SimFormer", "SimFormer*", *_UPPER
    cells = tuple(
        Cell(
            row=row,
            column=_column(share),
            trained_with=_unseen(share) | _UPPER.get(row, _LOUDER | _WHATEVER),
            retrained=row == rows[1],
        )
        for row in rows
        for share in _SHARES
    )
    few, many = (_column(share) for share in _SHARES)
    claims = [
        Claim(
            says=f"re-training helps with {column}",
            better=("SimFormer*", column),
            worse=("SimFormer", column),
        )
        for column in (few, many)
    ]
    claims += [
        Claim(
            says="unseen classes fall as there are more of them (published: 29.5 to 23.2)",
            better=("SimFormer", few),
            worse=("SimFormer", many),
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
        learns=tuple(_learns(_column(share)) for share in _SHARES),
    )


def clothing() -> Ablation:
    """Compare on photographs of dressed people; five garments have tags only."""
    changes: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("Basic", _BASIC),
        ("Self-Pair", {"method.pairs": "self", **_LOUDER}),
        ("Cross-Pair", _LOUDER | _WHATEVER),
        ("Cross-Pair, re-trained", _LOUDER | _WHATEVER),
        *_UPPER.items(),
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
        learns=(_learns(""),),
        claims=tuple(Claim(says=says, better=(more, ""), worse=(less, "")) for says, more, less in orderings),
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
        **_UPPER,
    }
    return Ablation(
        name="simformer/learning",
        title="Does the recipe learn what its features allow? All masks",
        recipe=_RECIPE,
        cells=tuple(Cell(row=row, trained_with=change) for row, change in rows.items()),
        measures=("mean_iou",),
        claims=(
            Claim(
                says="learned start and class cost help", better=(ALL_MASKS, ""), worse=("as published", "")
            ),
        ),
        learns=(_learns(""),),
        seeds=(0,),
    )


def _learns(column: str) -> Learns:
    return Learns(reaches=(ALL_MASKS, column), of=(PER_PIXEL, column))


def _column(share: float) -> str:
    return f"{share:.0%} unseen"


def _unseen(share: float) -> dict[str, Any]:
    return {"data.scenes.unseen": (), "data.scenes.unseen_share": share, "data.scenes.pairs": ()}
