"""Tables and verdicts of an ablation, as text and as JSON."""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student_t

from lexiseg.runs.studies.run import Measured
from lexiseg.runs.studies.study import Ablation, Claim, Learns, Place


def to_json(ablation: Ablation, measured: Sequence[Measured]) -> dict[str, Any]:
    """Return every number, the mean and spread of each cell (None where nothing was measured), and verdicts."""
    cells = []
    for cell in ablation.cells:
        of_cell = [one for one in measured if (one.row, one.column) == (cell.row, cell.column)]
        cells.append(
            {
                "row": cell.row,
                "column": cell.column,
                "published": ablation.published.get((cell.row, cell.column)),
                "seeds": {str(one.seed): dict(one.values) for one in of_cell},
                "mean": {
                    name: fmean(_values(of_cell, name)) if of_cell else None for name in ablation.measures
                },
                "standard_deviation": {name: _spread(_values(of_cell, name)) for name in ablation.measures},
            }
        )
    return {
        "ablation": ablation.name,
        "title": ablation.title,
        "recipe": ablation.recipe,
        "measures": list(ablation.measures),
        "cells": cells,
        "learns": [learnt(one, measured) for one in ablation.learns],
        "claims": [verdict(ablation, claim, measured) for claim in ablation.claims],
    }


def verdict(ablation: Ablation, claim: Claim, measured: Sequence[Measured]) -> dict[str, Any]:
    """Compare two cells seed by seed.

    Returns:
        The claim, the differences of the seeds that both cells have, their mean, its 95 % interval by Student's t
        (None for one seed), and ``holds``: ``every seed``, ``on average`` (the
        interval lies above zero), ``undecided`` (it does not) or ``no``, which a mean below the least
        effect is too, with ``, of one seed`` where there is no second; ``not claimed``, with why, where the training
        of one of the columns has not learnt what there is to learn, or nobody measured whether it has.
    """
    measure = claim.measure or ablation.measures[0]
    why_not = _why_not(ablation, claim, measured)
    better, worse = (_by_seed(measured, place, measure) for place in (claim.better, claim.worse))
    seeds = sorted(better.keys() & worse.keys())
    differences = [better[seed] - worse[seed] for seed in seeds]
    return {
        "says": claim.says,
        "measure": measure,
        "better": list(claim.better),
        "worse": list(claim.worse),
        "seeds": seeds,
        "differences": differences,
        "mean_difference": fmean(differences) if differences else None,
        "interval": _interval(differences),
        "least_effect": claim.by_at_most if claim.by_at_most is not None else claim.by_at_least,
        "holds": _judged(claim, differences) if why_not is None else f"not claimed: {why_not}",
    }


def learnt(learns: Learns, measured: Sequence[Measured]) -> dict[str, Any]:
    """Compare the means over seeds of a cell and of what it is measured by.

    Returns:
        Both places, their means, the share that is reached (None where either was not measured) and wanted, and
        whether it ``holds``.
    """
    means = [
        fmean(values) if (values := _by_seed(measured, place, learns.measure).values()) else None
        for place in (learns.reaches, learns.of)
    ]
    reached, whole = means
    share = None if reached is None or whole is None or whole <= 0 else reached / whole
    return {
        "reaches": list(learns.reaches),
        "of": list(learns.of),
        "measure": learns.measure,
        "means": means,
        "share": share,
        "wanted": learns.share,
        "holds": share is not None and share >= learns.share,
    }


def _why_not(ablation: Ablation, claim: Claim, measured: Sequence[Measured]) -> str | None:
    """Say what keeps an ordering from being claimed: the first column of it that did not learn."""
    columns = {claim.better[1], claim.worse[1]}
    for learns in ablation.learns:
        found = learnt(learns, measured)
        if learns.of[1] in columns and not found["holds"]:
            of = f"{found['wanted']:g} × {learns.of[0]}{f' ({learns.of[1]})' if learns.of[1] else ''}"
            if found["share"] is None:
                return f"nobody measured whether {learns.reaches[0]} reach {of}"
            return f"{learns.reaches[0]} reach {found['share']:.2f} of {learns.of[0]}, less than {of}"
    return None


def markdown(ablation: Ablation, measured: Sequence[Measured], measure: str) -> str:
    """Lay out one measure as a Markdown table: mean ± standard deviation over seeds, published numbers in brackets."""
    rows, columns = _in_order(c.row for c in ablation.cells), _in_order(c.column for c in ablation.cells)
    lines = [f"| {measure} | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for row in rows:
        texts = [_cell_text(ablation, measured, (row, column), measure) for column in columns]
        lines.append(f"| {row} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _cell_text(ablation: Ablation, measured: Sequence[Measured], place: Place, measure: str) -> str:
    values = list(_by_seed(measured, place, measure).values())
    if not values:
        return ""
    text = f"{fmean(values):.3f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.3f}"
    published = ablation.published.get(place)
    return text if published is None or measure != ablation.measures[0] else f"{text} ({published:g})"


def _judged(claim: Claim, differences: list[float]) -> str:
    """Judge a claim; one seed is never ``every seed``: a second one may well say the opposite."""
    holds = _holds(claim, differences)
    return holds if len(differences) != 1 else f"{'yes' if holds == 'every seed' else holds}, of one seed"


def _holds(claim: Claim, differences: list[float]) -> str:
    if not differences:
        return "not measured"
    if claim.by_at_most is not None:
        return "every seed" if max(map(abs, differences)) <= claim.by_at_most else (
            "on average" if abs(fmean(differences)) <= claim.by_at_most else "no"
        )  # fmt: skip
    if fmean(differences) < claim.by_at_least:
        return "no"
    if min(differences) > 0 and min(differences) >= claim.by_at_least:
        return "every seed"
    if fmean(differences) <= 0:
        return "no"
    interval = _interval(differences)
    return "on average" if interval is not None and interval[0] > 0 else "undecided"


def _interval(differences: list[float]) -> list[float] | None:
    """Return the 95 % interval of the mean of a few numbers, by Student's t."""
    if len(differences) < 2:
        return None
    reach = float(student_t.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    return [fmean(differences) - reach, fmean(differences) + reach]


def _by_seed(measured: Sequence[Measured], place: Place, measure: str) -> dict[int, float]:
    return {one.seed: one.values[measure] for one in measured if (one.row, one.column) == place}


def _values(measured: Sequence[Measured], name: str) -> list[float]:
    return [one.values[name] for one in measured]


def _spread(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
