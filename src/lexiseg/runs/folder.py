"""The folder of a training run: what it says of itself, and the model in it.

``recipe.json`` name and resolved settings · ``data.json`` fingerprint and facts of the data · ``environment.json``
versions, machine and command of each start · ``trained_on.tsv`` fingerprints of the images · ``model.json`` what a
``RebuildableRecipe`` keeps · ``log.jsonl``, ``timing.jsonl``, ``tensorboard/``, ``checkpoints/`` ·
``model.safetensors`` when it is finished.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import CheckpointError, InputError, LexisegError
from lexiseg.core.interfaces import Trainable
from lexiseg.core.json_text import read_json_file
from lexiseg.data.labelled_dataset import add_to_digest
from lexiseg.data.stepwise import TrainingData
from lexiseg.data.trained_on import write_trained_on
from lexiseg.engine.checkpoint import checkpoint_path, checkpoint_steps, read_checkpoint
from lexiseg.engine.loop import WEIGHTS, load_final, without_training_only
from lexiseg.engine.settings import EXTENDABLE, RESUMABLE
from lexiseg.engine.weights import load_tensors
from lexiseg.recipes.base import TRAINING_RECIPES, RebuildableRecipe, Recipe, find_recipe
from lexiseg.runs.git_commit import commit_of
from lexiseg.runs.packed_folder import CONFIG, packed_kind, packed_part
from lexiseg.runs.renamed_settings import with_new_names_like
from lexiseg.runs.settings_json import changed_fields, settings_from_json, settings_to_json

#: Any of these tells a run's folder; a hub checkpoint has config.json instead.
_MARKS = ("recipe.json", "log.jsonl", "checkpoints")


def is_run_folder(name: str) -> bool:
    """Return whether a name is that of a folder which ``lexiseg train`` wrote, perhaps in part, or one packed from it."""
    folder = Path(os.path.expanduser(name))  # unlike Path.expanduser, leaves an unknown ~user alone
    if not os.path.isdir(folder) or (folder / CONFIG).exists():
        return packed_kind(folder) == "run"
    return any((folder / mark).exists() for mark in _MARKS)


RECIPE, DATA, ENVIRONMENT, MODEL = "recipe.json", "data.json", "environment.json", "model.json"
#: Fingerprint and name of every file that images are read from.
TRAINED_ON = "trained_on.tsv"
#: Lists of samples that could not be used.
BROKEN = "broken"
FORMAT = 1

#: Settings that say where data lies. What it is stands in its fingerprint, which is compared.
_PLACES_OF_DATA = frozenset({"captions", "data.path", "data.folder"})

#: Packages whose versions decide what comes out.
_PACKAGES = ("lexiseg", "torch", "numpy", "safetensors", "transformers", "accelerate")


def begin_run(folder: Path, name: str, recipe: Recipe, data: TrainingData, *, resume: bool) -> None:
    """Write what a run is, or check that its continuation is the same run.

    A start that failed before its first checkpoint has left nothing to go on from: it is begun anew.

    Raises:
        InputError: The folder holds a run with a checkpoint and ``resume`` is not set, holds none and it is, or the
            run in it has other settings or data.
        OutputError: The folder cannot be written.
    """
    described = {"format": FORMAT, "name": name, "settings": settings_to_json(recipe)}
    if resume:
        _check_same(folder, described, recipe, data.fingerprint())
    elif is_run_folder(str(folder)) and (checkpoint_steps(folder) or (folder / WEIGHTS).exists()):
        raise InputError(
            doing=f"starting a run in {folder}",
            found="a run",
            expected="an empty folder, or a new one",
            fix="Add --resume to go on with that run, or give another folder with --out.",
        )
    write_trained_on(folder / TRAINED_ON, data.files())
    data.list_broken_in(folder / BROKEN)
    describe_data(folder, data)
    _write_json(
        folder / RECIPE, described
    )  # the last that a run cannot go on without: it says that there is one
    _write_json(folder / ENVIRONMENT, {"starts": [*_starts(folder), _environment(folder)]})


def is_begun(folder: Path) -> bool:
    """Return whether a run has come as far as a step: there is something to keep."""
    log = folder / "log.jsonl"
    return bool(checkpoint_steps(folder)) or (log.is_file() and log.stat().st_size > 0)


def forget_run(folder: Path) -> None:
    """Remove what a start wrote that came to no step; a list of broken records stays, for messages name it."""
    for name in (RECIPE, DATA, ENVIRONMENT, MODEL, TRAINED_ON, "log.jsonl", "timing.jsonl"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    for empty in (folder / BROKEN, folder / "checkpoints", folder):
        with suppress(OSError):  # it holds something, or is not there
            empty.rmdir()


def _starts(folder: Path) -> list[Any]:
    """Return what is noted of earlier starts; it is for people, so a damaged file stops no run."""
    path = folder / ENVIRONMENT
    if not path.exists():
        return []
    try:
        starts = _read_json(path).get("starts")
    except CheckpointError:
        starts = None
    if isinstance(starts, list):
        return starts
    warnings.warn(f"{path} is damaged: what it said of earlier starts is lost.", stacklevel=3)
    return []


def describe_data(folder: Path, data: TrainingData) -> None:
    """Write what there is to know of the data; at the end of a run again, with what was found broken."""
    facts = settings_to_json(dict(data.describe()))
    _write_json(folder / DATA, {"fingerprint": data.fingerprint(), "facts": facts})


def write_model(folder: Path, recipe: Recipe, model: Trainable) -> None:
    """Write what the model is made of beside the settings, where the recipe keeps such things.

    Raises:
        OutputError: The folder cannot be written.
    """
    if isinstance(recipe, RebuildableRecipe):
        _write_json(folder / MODEL, recipe.describe_model(model))


def read_recipe(folder: Path, *, trust: bool = False) -> tuple[str, Recipe]:
    """Read the name of a run's recipe and its resolved settings.

    Args:
        folder: The run's.
        trust: Import the module that the run names, where its recipe is a person's own. Whoever wrote the folder
            chose that name, and importing runs code.

    Raises:
        CheckpointError: ``recipe.json`` is missing or damaged, or names code that is not trusted.
        InputError: It does not fit the recipe of that name.
    """
    path = folder / RECIPE
    content = read_part(folder, RECIPE)
    if content.get("format") != FORMAT or not isinstance(content.get("name"), str):
        raise CheckpointError(
            doing=f"reading {path}",
            found=f"format {content.get('format')!r}",
            expected=f"format {FORMAT}, written by lexiseg train",
            fix="Use the version of Lexiseg that wrote it.",
        )
    name = content["name"]
    if not trust and name not in TRAINING_RECIPES and ":" in name:
        raise CheckpointError(
            doing=f"reading {path}",
            found=f"the recipe {name!r}: loading it imports that module and runs its code",
            expected="a recipe of Lexiseg's own, or your word that the folder comes from someone you trust",
            fix="Add --trust, or trust=True in Python, if it does.",
        )
    return name, settings_from_json(type(find_recipe(name)), content.get("settings"), source=str(path))


def load_run(
    path: str | os.PathLike[str], *, method: Any = None, recipe: Recipe | None = None, trust: bool = False
) -> Trainable:
    """Build the model of a run and put its weights in: the final ones, else those of the last checkpoint.

    Running means of the weights are taken where there are any, and the best ones where a run keeps them.
    The model is in eval mode, on the CPU.

    Args:
        path: The folder.
        method: Settings of the method in place of the recipe's field ``method``; None for those it was
            trained with.
        recipe: The run's recipe with other fields changed too, as far as only the use of the model depends on
            them; None for its own.
        trust: See ``read_recipe``; not needed where ``recipe`` is given.

    Raises:
        CheckpointError: A part of the run is missing or damaged, or it names code that is not trusted.
        InputError: Its recipe is not known here.
    """
    folder = Path(path).expanduser()
    if recipe is None:
        _, recipe = read_recipe(folder, trust=trust)
    if method is not None:
        changed: dict[str, Any] = {"method": method}
        recipe = replace(recipe, **changed)
    model = _rebuilt(folder, recipe)
    if (folder / WEIGHTS).exists():
        load_tensors(model, load_final(folder), folder / WEIGHTS)
    elif steps := checkpoint_steps(folder):
        tensors, _ = read_checkpoint(folder, steps[-1])
        merged = {**tensors["model"], **tensors.get("average", {}), **tensors.get("best", {})}
        load_tensors(model, without_training_only(model, merged), checkpoint_path(folder, steps[-1]))
    else:
        raise CheckpointError(
            doing=f"loading the run {folder}",
            found=f"neither {WEIGHTS} nor a checkpoint",
            expected="a run that has come to its first checkpoint",
            fix="Go on with it: lexiseg train … --out … --resume.",
        )
    return model.eval().requires_grad_(False)


def _rebuilt(folder: Path, recipe: Recipe) -> Trainable:
    is_described = (folder / MODEL).exists() or packed_part(folder, MODEL) is not None
    if not isinstance(recipe, RebuildableRecipe) or not is_described:
        return _guarded(recipe.build_model, folder / RECIPE)
    described = read_part(folder, MODEL)
    return _guarded(lambda: recipe.rebuild_model(described), folder / MODEL)


def _guarded(build: Callable[[], Trainable], path: Path) -> Trainable:
    """Build a model from what a file says; what the networks refuse in their own words is a damaged file."""
    try:
        return build()
    except LexisegError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {str(error)[:300]}"
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # torch's way of saying that sizes do not fit, or not into memory
        found = f"a model that cannot be built ({str(error).partition(chr(10))[0][:300]})"
    raise _damaged(path, found)


def _check_same(folder: Path, described: Mapping[str, Any], recipe: Recipe, fingerprint: str) -> None:
    doing = f"going on with the run in {folder}"
    if not (folder / RECIPE).exists():
        raise InputError(
            doing=doing,
            found="no run there" if not is_run_folder(str(folder)) else f"a run without {RECIPE}",
            expected="the folder of a run that was started",
            fix="Leave --resume out to start one."
            if not is_run_folder(str(folder))
            else f"Put {RECIPE} back.",
        )
    written = _read_json(folder / RECIPE)
    if isinstance(written.get("settings"), dict):
        written["settings"] = with_new_names_like(recipe, written["settings"])
    changed = changed_fields(written, described)
    changed = {name.removeprefix("settings."): pair for name, pair in changed.items()}
    changed = {name: pair for name, pair in changed.items() if not _is_harmless(name, *pair)}
    if changed:
        raise InputError(
            doing=doing,
            found="other settings: "
            + ", ".join(f"{name} was {before!r}, now {after!r}" for name, (before, after) in changed.items()),
            expected="the settings the run was started with",
            fix="Give the same command as before, or start a new run in another folder.",
        )
    if not (folder / DATA).exists() and not checkpoint_steps(folder):
        return  # killed before anything was done with the data
    before = _read_json(folder / DATA).get("fingerprint")
    if not isinstance(before, str):
        raise _damaged(folder / DATA, "no fingerprint of the data")
    if before != fingerprint:
        raise InputError(
            doing=doing,
            found=f"other data: its fingerprint was {before[:12]}…, now {fingerprint[:12]}…",
            expected="the data the run was started with",
            fix="Bring the data back to what it was, or start a new run in another folder. A run of an earlier "
            "version of Lexiseg goes on with that version only; it loads with this one.",
        )


def _is_harmless(name: str, before: Any, after: Any) -> bool:
    """Return whether a run may go on with another value of a setting; data that moved is known by its fingerprint."""
    field = name.removeprefix("run.")
    if field in EXTENDABLE and name != field:
        return isinstance(before, int) and isinstance(after, int) and after > before
    return (field in RESUMABLE and name != field) or name in _PLACES_OF_DATA


def _environment(folder: Path) -> dict[str, Any]:
    versions = {}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    steps = checkpoint_steps(folder)
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from_step": steps[-1] if steps else 0,
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "versions": versions,
        "commits": {"lexiseg": commit_of(Path(__file__).parents[3]), "folder": commit_of(Path.cwd())},
        "sources": _hash_of_sources(),
        "system": platform.platform(terse=True),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


@cache  # as they were when the process first asked: near to what it imported
def _hash_of_sources() -> str:
    """Hash Lexiseg's own Python files: what ran, also where they differ from the commit."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        add_to_digest(digest, file.relative_to(package).as_posix().encode(), file.read_bytes())
    return digest.hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_part(folder: Path, name: str) -> dict[str, Any]:
    """Read one of a run's JSON files, by its name; out of ``config.json`` where the run is packed for the hub.

    Raises:
        CheckpointError: It is not there, or damaged.
    """
    packed = packed_part(folder, name)
    return _read_json(folder / name) if packed is None else packed


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json_file(path)
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, getattr(error, "strerror", None) or str(error)) from error
    return content


def _damaged(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"reading {path}",
        found=found,
        expected="the file that lexiseg train wrote there",
        fix="Bring it back; without it nobody knows what the weights in this folder belong to.",
    )
