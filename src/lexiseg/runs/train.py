"""Train by a recipe into a run folder."""

import os
from contextlib import nullcontext
from pathlib import Path

from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.interfaces import Trainable
from lexiseg.engine.loop import train
from lexiseg.engine.seeding import seed_all
from lexiseg.recipes.base import Recipe, find_recipe
from lexiseg.runs.folder import BROKEN, begin_run, describe_data, load_run, write_model


def train_recipe(
    name: str,
    *,
    out: Path,
    recipe: Recipe | None = None,
    resume: bool = False,
    quiet: bool = False,
    most_hours: float | None = None,
) -> Trainable:
    """Train by a recipe; every process of a run on several devices calls this.

    Args:
        name: Name of the recipe, or ``package.module:function``.
        out: The run's folder; see ``runs.folder``.
        recipe: The recipe with settings changed, of the type that ``name`` gives; None leaves them.
        resume: Go on with the run in the folder.
        quiet: Show no progress.
        most_hours: Refuse, after a few steps, a run that would take longer on this machine; None never does.

    Returns:
        The trained model in eval mode, as ``lexiseg.load`` reads it from the folder.

    Raises:
        InputError: The recipe is not known, the folder holds another run, or another process trains there.
        LexisegError: As ``engine.loop.train`` says.
    """
    recipe = recipe or find_recipe(name)
    is_main = int(os.environ.get("RANK", "0")) == 0
    with writing_alone(out) if is_main else nullcontext():
        return _train(
            name, out=out, recipe=recipe, resume=resume, quiet=quiet, most_hours=most_hours, is_main=is_main
        )


def _train(
    name: str,
    *,
    out: Path,
    recipe: Recipe,
    resume: bool,
    quiet: bool,
    most_hours: float | None,
    is_main: bool,
) -> Trainable:
    data = recipe.build_data()
    seed_all(recipe.run.seed, "weights")
    model = recipe.build_model()  # before anything is written: most starts that fail, fail here
    if is_main:
        begin_run(out, name, recipe, data, resume=resume)
        write_model(out, recipe, model)
    else:
        data.list_broken_in(out / BROKEN)
    train(
        model,
        data,
        optim=recipe.optim,
        run=recipe.run,
        out=out,
        evaluate=recipe.evaluate,
        resume=resume,
        quiet=quiet,
        most_hours=most_hours,
    )
    if is_main:
        describe_data(out, data)
    return load_run(out, trust=True)  # the recipe was named by whoever trains
