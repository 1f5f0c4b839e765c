"""What each stage of a curation was done with, so that a stage goes on only with its own settings.

A curation is a folder. Each stage writes ``<stage>.json`` first and then one file a shard into folders of its own,
each file whole or not at all: what is there is finished, and the same command does the rest.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_path, sweep
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.json_text import decode_json, read_json_file

#: The stages in order, and the folders and files of each.
STAGES: dict[str, tuple[str, ...]] = {
    "embed": ("vectors", "keys.safetensors"),
    "search": ("index.faiss", "neighbours"),
    "rank": ("concepts", "concepts.safetensors", "concept_vectors.safetensors", "ranked"),
    "cluster": ("curated",),
}


#: Setting that may change, such as where the data lie now: it says how to open them again, not what they are.
OPENED = "opened"


def claim_stage(folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
    """Begin a stage, or go on with it where it was begun with the same settings.

    Temporary files that a killed process left behind are removed: one command at a time works on a folder, with as
    many workers as it likes.

    Args:
        folder: The curation.
        stage: Which.
        settings: What decides its results, and under ``OPENED`` what does not.

    Raises:
        InputError: It was begun with others.
        OutputError: The folder cannot be written.
    """
    given = decode_json(json.dumps(settings))
    path = folder / f"{stage}.json"
    if path.exists():
        there = read_stage(folder, stage)
        keys = (there.keys() | given.keys()) - {OPENED}
        if names := sorted(key for key in keys if there.get(key) != given.get(key)):
            changed = ", ".join(
                f"{key} {_short(there.get(key))} (now {_short(given.get(key))})" for key in names
            )
            later = list(STAGES)[list(STAGES).index(stage) :]
            raise InputError(
                doing=f"going on with {stage} in {folder}",
                found=f"results made with {changed}",
                expected="the same settings and data as before",
                fix=f"Give another folder, or let --redo remove what {', '.join(later)} made there.",
            )
    else:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(given, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sweep(folder)


def read_stage(folder: Path, stage: str) -> dict[str, Any]:
    """Read what a stage was done with.

    Raises:
        DatasetError: It was not begun, or its file is damaged.
    """
    path = folder / f"{stage}.json"
    try:
        settings = read_json_file(path)
        if isinstance(settings, dict):
            return settings
        found = f"a {type(settings).__name__}"
    except OSError as error:
        found = f"no readable {path.name} ({error.strerror})"
    except (ValueError, RecursionError) as error:
        found = f"a damaged {path.name} ({error})"
    raise DatasetError(
        doing=f"reading the stage {stage} of {folder}",
        found=found,
        expected=f"a folder in which lexiseg curate {stage} was run",
        fix=f"Run: lexiseg curate {stage}.",
    )


def drop_stages(folder: Path, first: str) -> None:
    """Remove what a stage and those after it made."""
    import shutil

    for stage in list(STAGES)[list(STAGES).index(first) :]:
        (folder / f"{stage}.json").unlink(missing_ok=True)
        for name in STAGES[stage]:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
