"""SimSeg's tables: pooling, top-k, and a class that is nearly always there."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lexiseg.runs.studies.study import Ablation, Cell, Claim

_RECIPE = "simseg/scenes"
_COUNTS = (1, 3, 5)
_MEASURES = (
    "foreground_mean_iou",
    "which_is_which",
    "which_is_which_chance",
    "map_offset",
    "mask_energy",
    "mean_iou",
    "image_to_text_1",
    "text_to_image_1",
    "rsum",
    "top1",
    "top5",
)

#: A smaller difference is nothing, stated before anything is measured: shares, points of RSUM, a cosine.
_LEAST_SHARE, _LEAST_RSUM, _LEAST_SCORE = 0.01, 5.0, 0.02
#: What masks are cut from beside the paper's similarity: ours, and two floors that know no word.
READ_OUTS = ("contrasted", "negated", "saliency")

#: The paper's Tables 11 and 12, mean IoU in percent on PASCAL VOC: row M^T, column M^I.
_TABLE11 = {1: (55.4, 56.3, 56.6), 3: (45.1, 45.2, 45.9), 5: (33.3, 33.0, 33.0)}
_TABLE12 = {1: (40.9, 48.7, 37.3), 3: (54.1, 55.3, 51.9), 5: (54.3, 56.3, 56.6)}


def loda() -> Ablation:
    """Compare poolings, kinds of padding, and maps with and without CRF."""

    def pooled(row: str, pooling: str) -> Cell:
        return Cell(
            row=row, trained_with={"method.training.pooling": pooling, "method.testing.pooling": pooling}
        )

    full = "LoDA"

    def read_out(cell: Cell, by: str) -> Cell:
        return replace(cell, row=f"{cell.row}, {by}", measured_with={"method.masks.map": by})

    poolings = (Cell(row=full), pooled("mean", "mean"), pooled("CLS", "cls"))
    cells = (
        *poolings,
        Cell(row="LoDA, CRF", measured_with={"refine": "crf"}),
        *(read_out(cell, by) for cell in poolings for by in READ_OUTS),
        Cell(
            row="LoDA, masked padding in training",
            trained_with={"method.training.padding": "masked"},
            seeds=(0,),
        ),
    )
    claims = [
        Claim(says=says, better=(full, ""), worse=(worse, ""), measure=measure, by_at_least=least)
        for worse in ("mean", "CLS")
        for measure, says, least in (
            (
                "which_is_which",
                f"LoDA tells the things of an image apart better than {worse} pooling",
                _LEAST_SHARE,
            ),
            (
                "rsum",
                f"LoDA retrieves better than {worse} pooling (published: +1.5 and +8.3 RSUM)",
                _LEAST_RSUM,
            ),
            ("top1", f"LoDA classifies better than {worse} pooling (published: +0.5 points)", _LEAST_SHARE),
        )
    ]
    claims += [
        Claim(
            says=f"LoDA {says} than {floor}",
            better=(full, ""),
            worse=(floor, ""),
            measure=measure,
            by_at_least=_LEAST_SHARE,
        )
        for floor in ("mean", "mean, negated", "CLS", "CLS, negated", "LoDA, saliency")
        for measure, says in (
            ("foreground_mean_iou", "segments better"),
            ("mask_energy", "puts more similarity inside true masks"),
        )
    ]
    claims += [
        Claim(
            says="CRF adds to LoDA's masks (a user quotes 2 to 3 points)",
            better=("LoDA, CRF", ""),
            worse=(full, ""),
            by_at_least=_LEAST_SHARE,
        ),
        Claim(
            says="plain padding in training beats masked (the author's reply: 56.6 against 48.5)",
            better=(full, ""),
            worse=("LoDA, masked padding in training", ""),
            by_at_least=_LEAST_SHARE,
        ),
    ]
    return Ablation(
        name="simseg/loda",
        title="LoDA against other poolings",
        recipe=_RECIPE,
        cells=cells,
        measures=_MEASURES,
        claims=tuple(claims),
    )


def table11() -> Ablation:
    """Change the top-k after training."""
    cells = _with_contrast(
        Cell(
            row=_row(text),
            column=_column(image),
            measured_with={"method.testing.text_topk": text, "method.testing.image_topk": image},
        )
        for text in _COUNTS
        for image in _COUNTS
    )
    falling = [
        Claim(
            says=f"at test, text top-k {more} lose against {fewer}{by} (published, image 5: 56.6, 45.9, 33.0)",
            better=(_row(fewer), _column(5) + by),
            worse=(_row(more), _column(5) + by),
            by_at_least=_LEAST_SHARE,
        )
        for by in ("", _CONTRASTED)
        for fewer, more in ((1, 3), (3, 5), (1, 5))
    ]
    flat = [
        Claim(
            says=f"at test, image top-k hardly matter with text top-k {text} (published: within 1.2 points)",
            better=(_row(text), _column(5)),
            worse=(_row(text), _column(1)),
            by_at_most=0.02,
        )
        for text in _COUNTS
    ]
    return Ablation(
        name="simseg/table11",
        title="Top-k at test (Table 11 of the paper)",
        recipe=_RECIPE,
        cells=cells,
        measures=_OF_MAPS,
        claims=(*falling, *flat),
        published=_published(_TABLE11),
    )


def table12() -> Ablation:
    """Change the top-k in training; three seeds for the cells that claims are about."""
    repeated = {(1, 3), (1, 5), (5, 3), (5, 5)}
    cells = _with_contrast(
        Cell(
            row=_row(text),
            column=_column(image),
            trained_with={"method.training.text_topk": text, "method.training.image_topk": image},
            seeds=None if (text, image) in repeated else (0,),
        )
        for text in _COUNTS
        for image in _COUNTS
    )
    claims = [
        Claim(
            says=f"in training, text top-1 loses against {better} with image top-k {image}{by}",
            better=(_row(better), _column(image) + by),
            worse=(_row(1), _column(image) + by),
            by_at_least=_LEAST_SHARE,
        )
        for by in ("", _CONTRASTED)
        for image in _COUNTS
        for better in (3, 5)
    ]
    claims += [
        Claim(
            says=f"in training, image top-k 5 lose against 3 with text top-k {text}",
            better=(_row(text), _column(3)),
            worse=(_row(text), _column(5)),
            by_at_least=_LEAST_SHARE,
        )
        for text in (1, 3)
    ]
    claims += [
        Claim(
            says=f"in training, text 5 image 5 beats text {text} image 3 (published: 56.6, next 56.3)",
            better=(_row(5), _column(5)),
            worse=(_row(text), _column(3)),
            by_at_least=_LEAST_SHARE,
        )
        for text in (3, 5)
    ]
    return Ablation(
        name="simseg/table12",
        title="Top-k in training (Table 12 of the paper)",
        recipe=_RECIPE,
        cells=cells,
        measures=(*_OF_MAPS, "rsum", "top1"),
        claims=tuple(claims),
        published=_published(_TABLE12),
    )


def common_class() -> Ablation:
    """Put a person into more and more images."""

    def shown(frequency: float) -> Cell:
        return Cell(
            row=f"person in {frequency:.0%}",
            trained_with={"data.common_class": "person", "data.common_frequency": frequency},
        )

    frequencies = (0.3, 0.9)
    cells = tuple(shown(frequency) for frequency in frequencies)
    rows = [cell.row for cell in cells]
    claims = [
        Claim(
            says=f"{measure} of person falls as it is shown more often",
            better=(rows[0], ""),
            worse=(rows[1], ""),
            measure=measure,
            by_at_least=_LEAST_SHARE if measure == "common_recall" else _LEAST_SCORE,
        )
        for measure in ("common_recall", "common_score", "score_margin")
    ]
    return Ablation(
        name="simseg/common-class",
        title="A class that is nearly always there (the paper's person)",
        recipe=_RECIPE,
        cells=cells,
        measures=(
            "common_recall",
            "others_recall",
            "common_score",
            "others_score",
            "score_margin",
            "foreground_mean_iou",
        ),
        claims=tuple(claims),
    )


#: Column of cells whose maps take the mean word away.
_CONTRASTED = ", contrasted"
_OF_MAPS = (
    "foreground_mean_iou",
    "which_is_which",
    "which_is_which_chance",
    "map_offset",
    "mask_energy",
    "mean_iou",
)


def _with_contrast(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return cells, and each again with contrasted maps: whether a verdict depends on the read-out."""
    plain = tuple(cells)
    changes = {"method.masks.map": "contrasted"}
    contrasted = (
        replace(cell, column=cell.column + _CONTRASTED, measured_with={**cell.measured_with, **changes})
        for cell in plain
    )
    return (*plain, *contrasted)


def _row(text: int) -> str:
    return f"text {text}"


def _column(image: int) -> str:
    return f"image {image}"


def _published(table: Mapping[int, tuple[float, ...]]) -> dict[tuple[str, str], float]:
    return {
        (_row(text), _column(image)): value
        for text, values in table.items()
        for image, value in zip(_COUNTS, values, strict=True)
    }
