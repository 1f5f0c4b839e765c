"""CoCu's tables on synthetic scenes: which captions are searched, how concepts are ranked and drawn, how many neighbours.

The columns are teachers: one that is made, with faults that are known, and one that learnt from captions of other scenes.
"""

from collections.abc import Mapping
from typing import Any

from lexiseg.runs.studies.study import Ablation, Cell, Claim

_RECIPE = "cocu/scenes"
_MEASURES = ("mean_iou", "stuff_mean_iou", "things_mean_iou", "one_class_mean_iou", "paraphrase")
_MADE, _LEARNT = "made teacher", "learnt teacher"
_TEACHERS: dict[str, dict[str, Any]] = {
    _MADE: {"curation.teacher.kind": "made"},
    _LEARNT: {"curation.teacher.kind": "learnt"},
}

_RANDOM = {"curation.expansion": "random"}
_LANGUAGE = {"curation.expansion": "language"}
_NAIVE = {"curation.ranking": "naive"}
_SOFTMAX = {"curation.sampling": "softmax"}

#: The paper's Table 3 of its appendix, mean over eight sets in percent: N to mIoU; GroupViT has 8.2.
_PUBLISHED = {8: 10.5, 16: 12.9, 32: 13.1}


def models() -> Ablation:
    """Add the paper's modules one by one to GroupViT (Table 2 of the appendix), for both teachers.

    The floor asks for as many words, of captions of any images.
    """
    floor = "floor: words of random images"
    rows: dict[str, Mapping[str, Any]] = {
        "#1 language-driven, naive": _LANGUAGE | _NAIVE | _SOFTMAX,
        "#2 vision-driven, naive": _NAIVE | _SOFTMAX,
        "#3 vision-driven, guided": _SOFTMAX,
        "#4 with clusters (CoCu)": {},
    }
    names = list(rows)
    rows[floor] = _RANDOM
    baseline = "baseline (GroupViT)"
    cells = [
        Cell(row=row, column=column, trained_with=teacher | dict(change))
        for column, teacher in _TEACHERS.items()
        for row, change in rows.items()
    ]
    # No teacher has a part in it: one training stands in both columns.
    cells = [
        Cell(row=baseline, column=column, trained_with={"curation": None}) for column in _TEACHERS
    ] + cells
    claims: list[Claim] = []
    for column in _TEACHERS:
        orders = (
            ("language-driven words add to the caption's own", names[0], baseline, "mean_iou"),
            ("vision-driven expansion beats language-driven", names[1], names[0], "mean_iou"),
            ("guided ranking beats naive", names[2], names[1], "mean_iou"),
            ("CoCu beats GroupViT (published: 12.9 against 8.2)", names[3], baseline, "mean_iou"),
            (
                "it is the images that are similar: CoCu beats words of random images",
                names[3],
                floor,
                "mean_iou",
            ),
            ("the gain is in stuff, which captions leave out", names[3], baseline, "stuff_mean_iou"),
            ("a word and its synonym have maps more alike with clusters", names[3], baseline, "paraphrase"),
        )
        claims += [
            Claim(says=f"{column}: {says}", better=(more, column), worse=(less, column), measure=measure)
            for says, more, less, measure in orders
        ]
        claims += [
            Claim(says=f"{column}: {says}", better=(more, column), worse=(less, column), measure=measure, by_at_most=0.03)
            for says, more, less, measure in (
                ("clusters lose nothing", names[3], names[2], "mean_iou"),
                ("things, which captions name, hardly change", names[3], baseline, "things_mean_iou"),
            )
        ]  # fmt: skip
    return Ablation(
        name="cocu/models",
        title="The modules of CoCu, one by one",
        recipe=_RECIPE,
        cells=tuple(cells),
        measures=_MEASURES,
        claims=tuple(claims),
        published={(baseline, _MADE): 8.2, (names[3], _MADE): 12.9},
    )


def neighbours() -> Ablation:
    """Change the number of neighbours (Table 3 of the appendix)."""
    rows = {number: f"N = {number}" for number in _PUBLISHED}
    cells = [
        Cell(row=row, column=column, trained_with=teacher | {"curation.neighbours": number})
        for column, teacher in _TEACHERS.items()
        for number, row in rows.items()
    ]
    claims = [
        Claim(
            says=f"{column}: N = {more} beats {less} (published: {_PUBLISHED[more]} against {_PUBLISHED[less]})",
            better=(rows[more], column),
            worse=(rows[less], column),
        )
        for column in _TEACHERS
        for more, less in ((16, 8), (32, 16))
    ]
    return Ablation(
        name="cocu/neighbours",
        title="How many neighbours are asked",
        recipe=_RECIPE,
        cells=tuple(cells),
        measures=_MEASURES,
        claims=tuple(claims),
        published={(rows[number], _MADE): value for number, value in _PUBLISHED.items()},
    )


def sampling() -> Ablation:
    """Change how concepts are drawn at each visit."""
    cells = [
        Cell(row=how, column=column, trained_with=teacher | {"curation.sampling": how})
        for column, teacher in _TEACHERS.items()
        for how in ("top", "softmax", "cluster")
    ]
    claims = [
        Claim(
            says=f"{column}: a word and its synonym have maps more alike with clusters than with the best three",
            better=("cluster", column),
            worse=("top", column),
            measure="paraphrase",
        )
        for column in _TEACHERS
    ]
    claims += [
        Claim(says=f"{column}: clusters beat {worse}", better=("cluster", column), worse=(worse, column))
        for column in _TEACHERS
        for worse in ("top", "softmax")
    ]
    return Ablation(
        name="cocu/sampling",
        title="How concepts are drawn",
        recipe=_RECIPE,
        cells=tuple(cells),
        measures=_MEASURES,
        claims=tuple(claims),
    )
