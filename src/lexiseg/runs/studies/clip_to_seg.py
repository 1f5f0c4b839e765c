"""CLIP-to-Seg's tables on synthetic scenes: what each part brings, how masks are merged, the bank, γ.

No published ablation is known: the claims are what the method's text makes one expect.
"""

from collections.abc import Mapping
from typing import Any

from lexiseg.runs.studies.study import Ablation, Cell, Claim

_RECIPE = "clip-to-seg/scenes"
_MEASURES = ("harmonic_iou", "unseen_mean_iou", "seen_mean_iou")

_NO_GLOBAL: dict[str, Any] = {"method.global_weight": 0.0}
_NO_LOCAL: dict[str, Any] = {"method.local": "none"}
_NO_MASKS: dict[str, Any] = {"method.masks": "none"}
_SEEN_ONLY = _NO_GLOBAL | _NO_LOCAL | _NO_MASKS
_TRUTH: dict[str, Any] = {"method.masks": "oracle", "data.truth": True}


def parts() -> Ablation:
    """Take parts away, and replace mined masks by better and worse ones."""
    seen, full = "seen classes only", "all parts"
    changes: dict[str, Mapping[str, Any]] = {
        seen: _SEEN_ONLY,
        "+ global": _NO_LOCAL | _NO_MASKS,
        "+ mining": _NO_GLOBAL | _NO_LOCAL,
        "+ local": _NO_GLOBAL | _NO_MASKS,
        "+ global, mining": _NO_LOCAL,
        "+ global, local": _NO_MASKS,
        "+ mining, local": _NO_GLOBAL,
        full: {},
        "true masks without names": _TRUTH,
        "mined masks at random places": {"method.masks": "random"},
        "names known (transductive)": {"method.transductive": True},
        "all masks and names": _SEEN_ONLY | {"data.masks": "all"},
        "no masks at all": {"data.masks": "none"},
    }
    orderings = (
        ("the global distillation brings most of the unseen", "+ global", seen, "unseen_mean_iou"),
        ("mining adds to it", "+ global, mining", "+ global", "harmonic_iou"),
        ("mining alone brings less than the global distillation alone", "+ global", "+ mining", "unseen_mean_iou"),
        ("the local distillation adds to both", full, "+ global, mining", "harmonic_iou"),
        ("all parts are at least as good as without the global one", full, "+ mining, local", "harmonic_iou"),
        ("all parts are at least as good as without mining", full, "+ global, local", "harmonic_iou"),
        ("true masks are the upper end of mined ones", "true masks without names", full, "unseen_mean_iou"),
        ("masks at random places are no better than none", "+ global, local", "mined masks at random places", "harmonic_iou"),
        ("known names help", "names known (transductive)", full, "unseen_mean_iou"),
    )  # fmt: skip
    claims = [
        Claim(says=says, better=(better, ""), worse=(worse, ""), measure=measure)
        for says, better, worse, measure in orderings
    ]
    claims.append(
        Claim(
            says="seen classes hardly change when a distillation is added",
            better=(full, ""),
            worse=(seen, ""),
            measure="seen_mean_iou",
            by_at_most=0.03,
        )
    )
    return Ablation(
        name="clip-to-seg/parts",
        title="What each part brings",
        recipe=_RECIPE,
        cells=tuple(Cell(row=row, trained_with=change) for row, change in changes.items()),
        measures=_MEASURES,
        claims=tuple(claims),
    )


def learnt() -> Ablation:
    """Take parts away where the teacher has learnt from captions, and is often wrong."""
    rows: dict[str, Mapping[str, Any]] = {
        "seen classes only": _SEEN_ONLY,
        "+ global": _NO_LOCAL | _NO_MASKS,
        "+ mining, local": _NO_GLOBAL,
        "all parts": {},
    }
    orderings = (
        ("the global distillation brings most of the unseen", "+ global", "seen classes only"),
        ("all parts beat the global distillation alone", "all parts", "+ global"),
        ("all parts are at least as good as without the global one", "all parts", "+ mining, local"),
    )
    return Ablation(
        name="clip-to-seg/learnt",
        title="By a teacher that has seen captions and no truth",
        recipe=_RECIPE,
        cells=tuple(
            Cell(row=row, trained_with={"teacher.name": "scenes-learnt"} | dict(change))
            for row, change in rows.items()
        ),
        measures=_MEASURES,
        claims=tuple(
            Claim(says=says, better=(more, ""), worse=(less, ""), measure="unseen_mean_iou")
            for says, more, less in orderings
        ),
    )


def merging() -> Ablation:
    """Change how seeds are made and merged; the teacher is noisier, so that it matters."""
    noisy: dict[str, Any] = {"teacher.scenes.noise": 1.2}
    changes: dict[str, Mapping[str, Any]] = {
        "prose": {},
        "literal (Algorithm 1)": {"method.merging": "literal"},
        "not merged": {"method.merging": "none"},
        "λ = 0.5": {"method.similarity": 0.5},
        "λ = 0.95": {"method.similarity": 0.95},
        "window 3": {"method.windows": (3,)},
        "window 7": {"method.windows": (7,)},
        "5 updates": {"method.updates": 5},
        "each image alone": {"method.mined_together": 1},
        "8 images together": {"method.mined_together": 8},
    }
    orderings = (
        ("merged beats not merged", "prose", "not merged"),
        ("λ = 0.8 beats a lower one", "prose", "λ = 0.5"),
        ("λ = 0.8 beats a higher one", "prose", "λ = 0.95"),
        ("two windows beat the small one", "prose", "window 3"),
        ("two windows beat the large one", "prose", "window 7"),
    )
    claims = [Claim(says=says, better=(more, ""), worse=(less, "")) for says, more, less in orderings]
    claims.append(
        Claim(
            says="the two readings are close",
            better=("prose", ""),
            worse=("literal (Algorithm 1)", ""),
            by_at_most=0.02,
        )
    )
    return Ablation(
        name="clip-to-seg/merging",
        title="How masks of nameless classes are made",
        recipe=_RECIPE,
        cells=tuple(Cell(row=row, trained_with=noisy | dict(change)) for row, change in changes.items()),
        measures=_MEASURES,
        claims=tuple(claims),
    )


def bank() -> Ablation:
    """Change the bank of negatives, with 2 images a step as on the paper's devices and with 8."""
    few, many = "2 images a step", "8 images a step"
    rows: dict[str, Mapping[str, Any]] = {
        "no bank": {"method.bank": 0},
        "24": {},
        "96": {"method.bank": 96},
        "24, pushed before the loss": {"method.bank_before_loss": True},
    }
    cells = [
        Cell(row=row, column=column, trained_with=_NO_MASKS | {"run.batch_size": size} | dict(change))
        for column, size in ((few, 2), (many, 8))
        for row, change in rows.items()
    ]
    claims = [
        Claim(says="a bank helps with 2 images", better=("24", few), worse=("no bank", few)),
        Claim(says="a larger one changes little", better=("96", few), worse=("24", few), by_at_most=0.02),
        Claim(
            says="pushing before the loss hurts",
            better=("24", few),
            worse=("24, pushed before the loss", few),
        ),
        Claim(
            says="with 8 images it matters little",
            better=("24", many),
            worse=("no bank", many),
            by_at_most=0.02,
        ),
    ]
    return Ablation(
        name="clip-to-seg/bank",
        title="The bank of negatives (without mining)",
        recipe=_RECIPE,
        cells=tuple(cells),
        measures=_MEASURES,
        claims=tuple(claims),
    )


def gamma() -> Ablation:
    """Take more and more from the scores of seen classes, at test: of the full model and of one that is biased."""
    offsets = (-1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
    columns: dict[str, Mapping[str, Any]] = {"all parts": {}, "+ global": _NO_LOCAL | _NO_MASKS}
    cells = [
        Cell(
            row=f"γ = {offset:g}", column=column, trained_with=change, measured_with={"method.gamma": offset}
        )
        for column, change in columns.items()
        for offset in offsets
    ]
    claims = [
        Claim(says=f"{column}: γ = 1 finds more of unseen classes' pixels than 0 in IoU",
              better=("γ = 1", column), worse=("γ = 0", column), measure="unseen_mean_iou")
        for column in columns
    ]  # fmt: skip
    claims += [
        Claim(says=f"{column}: seen classes pay for γ = 8", better=("γ = 0", column), worse=("γ = 8", column),
              measure="seen_mean_iou")
        for column in columns
    ]  # fmt: skip
    claims += [
        Claim(
            says=f"{column}: the best γ is inside: 1 beats 8",
            better=("γ = 1", column),
            worse=("γ = 8", column),
        )
        for column in columns
    ]
    return Ablation(
        name="clip-to-seg/gamma",
        title="What is taken from the scores of seen classes (γ)",
        recipe=_RECIPE,
        cells=tuple(cells),
        measures=_MEASURES,
        claims=tuple(claims),
    )


def clothing() -> Ablation:
    """Teach on photographs of dressed people: the division of SimFormer's table, names only; the backbone is frozen."""
    frozen: dict[str, Any] = {"student.freeze": True, "student.remembers": True}
    changes: dict[str, Mapping[str, Any]] = {
        "seen classes only": _SEEN_ONLY,
        "+ global": _NO_LOCAL | _NO_MASKS,
        "all parts": {},
        "names known (transductive)": {"method.transductive": True},
        "all masks": _SEEN_ONLY | {"data.masks": "all"},
    }
    orderings = (
        ("all parts beat seen classes only", "all parts", "seen classes only"),
        ("all parts beat the global distillation alone", "all parts", "+ global"),
        ("all masks are the upper end", "all masks", "all parts"),
    )
    return Ablation(
        name="clip-to-seg/clothing",
        title="Garments without masks, in photographs, taught by mini",
        recipe="clip-to-seg/clothing",
        cells=tuple(Cell(row=row, trained_with=frozen | dict(change)) for row, change in changes.items()),
        measures=("unseen_mean_iou", "seen_mean_iou", "harmonic_iou", "mean_iou"),
        claims=tuple(
            Claim(says=says, better=(more, ""), worse=(less, ""), measure="unseen_mean_iou")
            for says, more, less in orderings
        ),
        seeds=(0,),
        needs_data=True,
    )
