"""SimFormer's tables: where pairs come from, how many points, how many unseen classes."""

from collections.abc import Mapping
from typing import Any

from lexiseg.recipes.ablations.study import Ablation, Cell, Claim

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
#: Shares of unseen classes for the splits; the sets are nested.
_SHARES = (0.25, 0.5)


def pairs() -> Ablation:
    """Compare where pairs of pixels come from, and teachers that are wrong or perfect on purpose."""
    rows = "Basic", "Self-Pair", "Cross-Pair"
    cells = (
        Cell(row=rows[0], trained_with=_BASIC),
        Cell(row=rows[1], trained_with={"method.pairs": "self"}),
        Cell(row=rows[2]),
        Cell(row="Cross-Pair, both pixels with masks", trained_with={"method.unlabelled_differ": False}),
        Cell(row="shuffled teacher", trained_with={"method.teacher": "shuffled"}),
        Cell(row="oracle teacher", trained_with={"method.teacher": "oracle", "data.batches.truth": True}),
        Cell(row="no complementary loss", trained_with={**_BASIC, "method.complementary": 0.0}, seeds=(0,)),
        Cell(row="all masks", trained_with={**_BASIC, "data.all_masks": True}, seeds=(0,)),
    )
    basic, own, cross = ((row, "") for row in rows)
    claims = (
        Claim(says="Self-Pair beats Basic (published: +0.85)", better=own, worse=basic),
        Claim(says="Cross-Pair beats Self-Pair (published: +2.35)", better=cross, worse=own),
        Claim(says="Cross-Pair beats Basic (published: +3.2)", better=cross, worse=basic),
        Claim(
            says="a shuffled teacher is no better than Basic", better=basic, worse=("shuffled teacher", "")
        ),
        Claim(says="an oracle teacher is at least as good", better=("oracle teacher", ""), worse=cross),
        Claim(says="the complementary loss helps", better=basic, worse=("no complementary loss", "")),
        Claim(says="all masks are the upper end", better=("all masks", ""), worse=cross),
        Claim(
            says="seen classes hardly change between Basic and Cross-Pair",
            better=cross,
            worse=basic,
            measure="seen_mean_iou",
            by_at_most=0.02,
        ),
    )
    published = {("Basic", ""): 26.33, ("Self-Pair", ""): 27.18, ("Cross-Pair", ""): 29.53}
    return Ablation(
        name="simformer/pairs",
        title="Where pairs of pixels come from (Table 2 of the seed)",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=claims,
        published=published,
    )


def points() -> Ablation:
    """Change the number of sampled points."""
    published = {50: 29.15, 100: 29.53, 150: 29.68}
    cells = tuple(Cell(row=f"J = {count}", trained_with={"method.num_points": count}) for count in published)
    claims = tuple(
        Claim(
            says=f"{more} points are close to {fewer} (published: within 0.4)",
            better=(f"J = {more}", ""),
            worse=(f"J = {fewer}", ""),
            by_at_most=0.02,
        )
        for fewer, more in ((50, 100), (100, 150))
    )
    return Ablation(
        name="simformer/points",
        title="Number of sampled points (Table 1 of the seed)",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=claims,
        published={(f"J = {count}", ""): value for count, value in published.items()},
    )


def splits() -> Ablation:
    """Turn more and more classes unseen; train again on pseudo masks; compare with all masks."""
    rows = "SimFormer", "SimFormer*", "all masks"
    cells = tuple(
        Cell(
            row=row,
            column=_column(share),
            trained_with={**_unseen(share), **({**_BASIC, "data.all_masks": True} if row == rows[2] else {})},
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
        title="A growing share of unseen classes (Table 3 of the seed)",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=tuple(claims),
    )


def clothing() -> Ablation:
    """Compare on photographs of dressed people; five garments have tags only."""
    changes: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("Basic", _BASIC),
        ("Self-Pair", {"method.pairs": "self"}),
        ("Cross-Pair", {}),
        ("Cross-Pair, re-trained", {}),
        ("all masks", {**_BASIC, "data.all_masks": True}),
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
        claims=tuple(Claim(says=says, better=(more, ""), worse=(less, "")) for says, more, less in orderings),
        seeds=(0,),
        needs_data=True,
    )


def _column(share: float) -> str:
    return f"{share:.0%} unseen"


def _unseen(share: float) -> Mapping[str, Any]:
    return {"data.scenes.unseen": (), "data.scenes.unseen_share": share, "data.scenes.pairs": ()}
