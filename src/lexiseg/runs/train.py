"""Train by a recipe into a run folder."""

import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

from lexiseg.core.errors import TrainingStopped
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.interfaces import Trainable
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.checkpoint import checkpoint_steps
from lexiseg.engine.loop import train
from lexiseg.engine.seeding import seed_all
from lexiseg.recipes.base import Recipe, find_recipe
from lexiseg.runs.folder import (
    BROKEN,
    begin_run,
    describe_data,
    forget_run,
    is_begun,
    is_run_folder,
    load_run,
    write_model,
)


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

    A start that fails before its first step leaves nothing in the folder but a list of broken records.

    Returns:
        The trained model in eval mode, as ``lexiseg.load`` reads it from the folder; on processes other than the
        first, whose nodes need not see the folder, the last weights as training left them.

    Raises:
        InputError: The recipe is not known, the folder holds another run, or another process trains there.
        TrainingStopped: A signal asked for it; a checkpoint is written.
        LexisegError: As ``engine.loop.train`` says.
    """
    recipe = recipe or find_recipe(name)
    is_main = int(os.environ.get("RANK", "0")) == 0
    is_new = is_main and not resume and not is_run_folder(str(out))
    with writing_alone(out) if is_main else nullcontext():
        try:
            return _train(
                name,
                out=out,
                recipe=recipe,
                resume=resume,
                quiet=quiet,
                most_hours=most_hours,
                is_main=is_main,
            )
        except BaseException:
            if is_new and not is_begun(out):  # alone here: what another run writes is not ours to remove
                forget_run(out)
            raise


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
    recipe = recipe.fitted_to(data)
    _say_epochs(recipe, data, quiet=quiet or not is_main)
    seed_all(recipe.run.seed, "weights")
    model = recipe.build_model()  # before anything is written: most starts that fail, fail here
    if is_main:
        begin_run(out, name, recipe, data, resume=resume)
        write_model(out, recipe, model)
    else:
        data.list_broken_in(out / BROKEN)
    is_finished = train(
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
    if not is_finished:
        done = f" after step {checkpoint_steps(out)[-1]:,}, whose checkpoint is written" if is_main else ""
        raise TrainingStopped(f"the training was stopped by a signal{done}")
    if not is_main:
        return model.eval().requires_grad_(False)
    return load_run(out, trust=True)  # the recipe was named by whoever trains


#: More passes over the same images than any published recipe makes.
_MANY_EPOCHS = 300


def _say_epochs(recipe: Recipe, data: TrainingData, *, quiet: bool) -> None:
    """Say how often the data will be seen; a recipe of millions of images on some thousand says so before it begins."""
    per_epoch = data.steps_per_epoch
    if not per_epoch:
        return
    epochs = recipe.run.num_steps / per_epoch
    if epochs > _MANY_EPOCHS:
        warnings.warn(
            f"{recipe.run.num_steps:,} steps of {recipe.run.batch_size:,} are {epochs:,.0f} passes over these "
            f"{per_epoch * recipe.run.batch_size:,.0f} images: the recipe is made for far more. Lower --run.num-steps"
            " (with few images rather begin from pretrained encoders: simseg/finetune --epochs 20).",
            stacklevel=4,
        )
    elif not quiet:
        print(f"{per_epoch:,.1f} steps an epoch, {epochs:,.1f} epochs", file=sys.stderr)
