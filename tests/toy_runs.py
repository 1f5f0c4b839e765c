"""Runs of the toys that must not depend on the number of devices; ``torchrun tests/toy_runs.py OUT`` makes them on two."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from torch.distributed import barrier, get_rank

from lexiseg.engine.devices import close_devices
from lexiseg.engine.loop import train
from lexiseg.engine.seeding import seed_all
from toy_trainable import ToyRecipe, contrast_recipe, counts_recipe


def _short(recipe: ToyRecipe, **run: object) -> ToyRecipe:
    optim = replace(recipe.optim, warmup_fraction=0.0)  # so that the first step is one
    method = replace(recipe.method, dropout=0.0)  # devices draw different numbers
    run = {"num_steps": 4, "save_every": 2, "log_every": 1, **run}
    return replace(recipe, optim=optim, method=method, run=replace(recipe.run, **run))


RUNS = {
    "contrast": _short(contrast_recipe()),
    "contrast in parts": _short(contrast_recipe(), sub_batch_size=3),
    "counts": _short(counts_recipe()),
    "contrast in shards": _short(contrast_recipe(), parallel="fsdp"),
    "contrast in shards in parts": _short(contrast_recipe(), parallel="fsdp", sub_batch_size=3),
    "counts in shards": _short(counts_recipe(), parallel="fsdp"),
}


def make(name: str, out: Path, resume: bool = False) -> None:
    recipe = RUNS[name]
    seed_all(0, "weights")
    train(
        recipe.build_model(),
        recipe.build_data(),
        optim=recipe.optim,
        run=recipe.run,
        out=out / name,
        evaluate=None if recipe.counts else recipe.evaluate,
        resume=resume,
        quiet=True,
    )


def make_resumed(name: str, out: Path) -> None:
    """Go back to the first checkpoint, as if the run had been stopped there, and go on."""
    make(name, out)
    barrier()
    if get_rank() == 0:
        shutil.rmtree(out / name / "checkpoints/step-000004")
    barrier()
    make(name, out, resume=True)


if __name__ == "__main__":
    for name in RUNS:
        make(name, Path(sys.argv[1]))
    make_resumed("contrast in shards", Path(sys.argv[1]) / "resumed")
    barrier()
    close_devices()
    sys.stderr.flush()
    os._exit(0)  # all is written; gloo's threads sometimes abort an interpreter that takes itself apart
