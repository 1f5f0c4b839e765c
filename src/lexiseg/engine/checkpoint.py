"""Checkpoints: a folder a step, whole or not there at all.

``checkpoints/step-000123/`` holds ``model.safetensors``, ``optimizer.safetensors``, ``average.safetensors`` where
a running mean of the weights is kept, ``best.safetensors`` where the best ones are, and ``state.json``.
It gets its name when every byte is on the disk.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lexiseg.core.atomic_write import atomic_folder, to_disk
from lexiseg.core.errors import CheckpointError, OutputError
from lexiseg.core.json_text import decode_json, read_json_file
from lexiseg.core.tensor_digest import tensor_digest

FOLDER, STATE = "checkpoints", "state.json"
FORMAT = 1
_STEP = re.compile(r"step-(\d{6,})")

#: Old and new names of modules whose tensors earlier runs wrote.
_RENAMED = ((re.compile(r"(?<=\bnetwork\.)pieces(?=\.weight\b)"), "token_embedding"),)


def checkpoint_path(run: Path, step: int) -> Path:
    """Return where the checkpoint after a step belongs."""
    return run / FOLDER / f"step-{step:06d}"


def checkpoint_steps(run: Path) -> list[int]:
    """List the steps that a run has checkpoints of, in order; half-written ones are not seen."""
    if not (run / FOLDER).is_dir():
        return []
    found = (_STEP.fullmatch(entry.name) for entry in (run / FOLDER).iterdir() if entry.is_dir())
    return sorted(int(match[1]) for match in found if match)


def write_checkpoint(
    run: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int
) -> None:
    """Write the checkpoint after a step, then delete all but the newest ``keep``.

    Args:
        run: The run's folder.
        step: Updates done.
        tensors: Name of a file without ending to the tensors in it, by name.
        state: Plain values that go with them.
        keep: How many checkpoints stay.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
    """
    path = checkpoint_path(run, step)
    try:
        for left in path.parent.glob(".step-*"):
            shutil.rmtree(left)
        with atomic_folder(path) as partial:
            for name, values in tensors.items():
                write_tensors(partial / f"{name}.safetensors", values, step=step)
            text = json.dumps({"format": FORMAT, "step": step, "files": sorted(tensors), **state}, indent=1)
            (partial / STATE).write_text(text + "\n", encoding="utf-8")
            if path.exists():
                _delete(path)
        to_disk(path.parent)
        for old in checkpoint_steps(run)[:-keep]:
            _delete(checkpoint_path(run, old))
    except OSError as error:
        raise OutputError(
            doing=f"writing the checkpoint {path}",
            found=getattr(error, "found", None) or error.strerror or str(error),
            expected="a folder that can be written to, with room for the weights and the optimiser's state",
            fix="Free some space or keep fewer checkpoints (--run.keep-checkpoints), then go on with --resume. "
            "Earlier checkpoints are whole.",
        ) from error


def read_checkpoint(run: Path, step: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read the checkpoint after a step: tensors by file and name, and the plain values.

    Raises:
        CheckpointError: A part is missing, damaged or not ours.
    """
    path = checkpoint_path(run, step)
    try:
        state = read_json_file(path / STATE)
        if state["format"] != FORMAT or state["step"] != step:
            raise ValueError(f"format {state['format']}, step {state['step']}")
        files = {name: _load(path / f"{name}.safetensors") for name in state["files"]}
        if not files.keys() >= {"model", "optimizer"}:
            raise ValueError(f"files {', '.join(files) or 'of nothing'}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            doing=f"reading the checkpoint {path}",
            found=f"{type(error).__name__}: {error}",
            expected=f"format {FORMAT} with {STATE} and every file that it lists, as lexiseg train wrote it",
            fix=f"Delete the folder {path.name} to go on from the checkpoint before it.",
        ) from error
    return files, state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **facts: object) -> None:
    """Write tensors with a few facts in the header; ``path`` is one of ``atomic_path`` or in an ``atomic_folder``."""
    values = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # One entry: the header holds several in an order that changes, and equal runs write equal files.
    save_file(values, path, metadata={"lexiseg": json.dumps({**facts, "sha256": tensor_digest(values)})})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors by name.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        return _load(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            doing=f"reading {path}",
            found=str(error),
            expected="weights that lexiseg train wrote",
            fix="Delete the file and go on with the run (--resume): it is written again from the last checkpoint.",
        ) from error


def read_facts(path: Path) -> dict[str, Any]:
    """Read what ``write_tensors`` put into the header of a file, without its tensors.

    Raises:
        OSError: It is not there; ``ValueError`` and ``SafetensorError``: it is damaged.
    """
    with safe_open(path, framework="pt") as opened:
        facts = decode_json((opened.metadata() or {}).get("lexiseg", "{}"))
    if not isinstance(facts, dict):
        raise ValueError(f"facts that are a {type(facts).__name__}")
    return facts


#: What the header of a file of tensors says.
_FACTS = {"step", "weights", "sha256"}


def _load(path: Path) -> dict[str, Tensor]:
    """Read tensors, under the names of today, and compare them with their hash; files of earlier versions have none."""
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
        facts = decode_json(metadata.get("lexiseg", "{}"))
        if not isinstance(facts, dict):
            raise ValueError(f"facts that are a {type(facts).__name__}")
        if strange := metadata.keys() - {"lexiseg"} | facts.keys() - _FACTS:  # a damaged name hides the hash
            raise ValueError(f"{', '.join(sorted(strange))} in its header, which no version writes")
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if facts.get("sha256", wanted := tensor_digest(tensors)) != wanted:
        raise ValueError(f"numbers in {path.name} that are not those that were written")
    return _with_new_names(tensors)


def _with_new_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for old, new in _RENAMED:
        tensors = {old.sub(new, name): tensor for name, tensor in tensors.items()}
    return tensors


def _delete(folder: Path) -> None:
    """Delete a checkpoint so that no half of it can be taken for one."""
    hidden = folder.with_name(f".{folder.name}.deleted")
    os.rename(folder, hidden)
    shutil.rmtree(hidden)
