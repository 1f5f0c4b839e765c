"""Run an ablation: train each cell once a seed, measure it, keep every result.

Every training is a run folder and every measurement a small JSON file, so that the same command goes on
where it was stopped.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lexiseg.core.atomic_write import atomic_folder, atomic_path
from lexiseg.core.json_text import read_json_file
from lexiseg.engine.log import read_log
from lexiseg.engine.loop import WEIGHTS
from lexiseg.recipes.base import Recipe, find_recipe
from lexiseg.recipes.simformer import SimFormerRecipe
from lexiseg.runs.bulk.job import Job, Numbered, Outcome, Workers
from lexiseg.runs.bulk.run import do_job
from lexiseg.runs.folder import is_run_folder, load_run, read_recipe
from lexiseg.runs.retrain import retrain
from lexiseg.runs.retraining_folder import FIRST, SECOND
from lexiseg.runs.settings_json import settings_to_json
from lexiseg.runs.studies import find_ablation
from lexiseg.runs.studies.study import Ablation, Cell, with_changes
from lexiseg.runs.train import train_recipe


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers of one cell with one seed."""

    row: str
    column: str
    seed: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class _Training:
    """One run folder and the cells that are measured on it."""

    ablation: str
    trained_with: Mapping[str, Any]
    seed: int
    cells: tuple[Cell, ...]
    out: Path


def run_ablation(
    ablation: Ablation,
    out: Path,
    *,
    seeds: tuple[int, ...],
    changes: Mapping[str, Any],
    jobs: int = 1,
    advance: Callable[[str], None] = lambda _: None,
    only_finished: bool = False,
) -> list[Measured]:
    """Train and measure every cell.

    Args:
        ablation: The table.
        out: Folder for runs and measurements; what is finished there is not done again.
        seeds: Seeds of the cells that name none themselves.
        changes: Changes to the recipe of all cells, by dotted name.
        jobs: Trainings at a time, each in a process of its own; they share the cores; 1 trains here.
        advance: Called with a sentence after each training.
        only_finished: Train nothing; what ``out`` does not hold is left out.

    Returns:
        One entry a cell and seed, in the order of the cells.
    """
    trainings = _trainings(ablation, out, seeds, changes)
    if only_finished:
        return list(_read(ablation, trainings, only_finished=True))
    with closing(do_job(_TrainingJob(), enumerate(trainings), Workers(count=jobs))) as outcomes:
        for outcome in outcomes:
            advance(_sentence(trainings[outcome.number]))
    return list(_read(ablation, trainings))


class _TrainingJob(Job):
    """Train and measure; a training that dies goes on from its last checkpoint."""

    name = "training"
    ahead = 0
    shard = 1
    lists_failures = False

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Train one after the other."""
        for number, training in inputs:
            _train_and_measure(training)
            yield Outcome(number=number, state="done")


def count_trainings(ablation: Ablation, seeds: tuple[int, ...]) -> int:
    """Count the trainings of a run: cells that differ in measuring only share one."""
    return len(_trainings(ablation, Path(), seeds, {}))


def _trainings(
    ablation: Ablation, out: Path, seeds: tuple[int, ...], changes: Mapping[str, Any]
) -> list[_Training]:
    shared: dict[tuple[str, int], tuple[dict[str, Any], list[Cell]]] = {}
    for cell in ablation.cells:
        trained_with = {**changes, **cell.trained_with}
        for seed in cell.seeds if cell.seeds is not None else seeds:
            key = json.dumps(trained_with, sort_keys=True, default=str), seed
            shared.setdefault(key, (trained_with, []))[1].append(cell)
    trainings = [
        _Training(ablation=ablation.name, trained_with=trained_with, seed=seed, cells=tuple(cells), out=out)
        for (_, seed), (trained_with, cells) in shared.items()
    ]
    return sorted(trainings, key=lambda training: training.seed)  # a whole table of the first seed first


def _train_and_measure(training: _Training) -> None:
    missing = [cell for cell in training.cells if not _result_file(training, cell).is_file()]
    if not missing:
        return
    recipe, folder = _recipe(training), training.out / "runs" / _digest(_recipe(training))
    if not (folder / WEIGHTS).exists():
        name = find_ablation(training.ablation).recipe
        train_recipe(name, recipe=recipe, out=folder, resume=is_run_folder(str(folder)), quiet=True)
    for cell in missing:
        logged = [line["evaluation"] for line in read_log(folder) if "evaluation" in line]
        if logged and not cell.retrained and not cell.measured_with:
            _write_result(training, cell, logged[-1])  # the training has scored what it ended with already
            continue
        measured = _retrained(training) if cell.retrained else folder
        # The second run of a re-training has its own recipe: every class has masks, so there is no SimNet.
        measuring = with_changes(read_recipe(measured)[1] if cell.retrained else recipe, cell.measured_with)
        model = load_run(measured, recipe=measuring)
        with torch.inference_mode():
            values = measuring.evaluate(model)
        _write_result(training, cell, values)


def _write_result(training: _Training, cell: Cell, values: Mapping[str, float]) -> None:
    with atomic_path(_result_file(training, cell)) as file:
        file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _retrained(training: _Training) -> Path:
    """Re-train from the run that is there already; return the second run's folder."""
    recipe = _recipe(training)
    assert isinstance(recipe, SimFormerRecipe), f"{training.ablation} has no re-training"
    first = training.out / "runs" / _digest(recipe)
    both = first.with_name(f"{first.name}-retrained")
    if not (both / FIRST / WEIGHTS).exists():
        shutil.rmtree(both / FIRST, ignore_errors=True)  # of a version that copied in place and was stopped
        with atomic_folder(both / FIRST) as copy:
            shutil.copytree(first, copy, dirs_exist_ok=True)
    if not (both / SECOND / WEIGHTS).exists():
        name = find_ablation(training.ablation).recipe
        retrain(name, out=both, recipe=recipe, resume=True, quiet=True)
    return both / SECOND


def _read(
    ablation: Ablation, trainings: list[_Training], *, only_finished: bool = False
) -> Iterator[Measured]:
    order = {(cell.row, cell.column): place for place, cell in enumerate(ablation.cells)}
    found = [
        Measured(
            row=cell.row,
            column=cell.column,
            seed=training.seed,
            values=read_json_file(_result_file(training, cell)),
        )
        for training in trainings
        for cell in training.cells
        if not only_finished or _result_file(training, cell).is_file()
    ]
    yield from sorted(found, key=lambda one: (order[one.row, one.column], one.seed))


def _recipe(training: _Training) -> Recipe:
    changes = {**training.trained_with, "run.seed": training.seed}
    return with_changes(find_recipe(find_ablation(training.ablation).recipe), changes)


def _result_file(training: _Training, cell: Cell) -> Path:
    measuring = with_changes(_recipe(training), cell.measured_with)
    kind = "-retrained" if cell.retrained else ""
    return training.out / "cells" / f"{_digest(_recipe(training))}-{_digest(measuring)}{kind}.json"


def _digest(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps(settings_to_json(recipe), sort_keys=True).encode()).hexdigest()[:12]


def _sentence(training: _Training) -> str:
    places = ", ".join(f"{cell.row} {cell.column}".strip() for cell in training.cells)
    return f"{places}, seed {training.seed}"
