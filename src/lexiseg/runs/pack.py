"""Pack a run, a head or a checkpoint as a folder in the hub's layout, with a model card; ``load`` takes the folder.

``config.json`` what the run's or head's own files say · ``model.safetensors`` the weights, byte for byte · ``README.md`` the
card · ``trained_on.tsv`` fingerprints of the images. The layout is that of ``PyTorchModelHubMixin``.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_folder
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.json_text import read_json_file
from lexiseg.engine.loop import WEIGHTS
from lexiseg.models.hub import SETTINGS, resolve_checkpoint
from lexiseg.models.weight_files import wanted_weights
from lexiseg.runs import head_folder
from lexiseg.runs.after_training import last_scores
from lexiseg.runs.folder import DATA, ENVIRONMENT, MODEL, RECIPE, TRAINED_ON, read_part
from lexiseg.runs.licences import Part, list_parts
from lexiseg.runs.load import find_kind, second_run
from lexiseg.runs.model_card import Card, CardScore, card_text
from lexiseg.runs.packed_folder import CONFIG, LIBRARY, PackedKind, packed_kind

#: Settings that say where data lay on one machine: their last part alone is kept.
_PLACES = frozenset({"path", "folder", "captions"})


@dataclass(frozen=True, kw_only=True)
class _Contents:
    config: dict[str, Any] | None
    files: Mapping[str, Path]
    data: Any
    command: str
    scores: Mapping[str, float]


def pack(
    model: str, out: Path, *, reports: Sequence[Path] = (), licence: str | None = None, trust: bool = False
) -> tuple[Part, ...]:
    """Write a model as a folder for the hub, whole or not at all.

    Args:
        model: A finished run, a head of ``lexiseg fit``, or a checkpoint's folder or hub id.
        out: The folder; new or empty.
        reports: JSON files of ``lexiseg evaluate`` or ``lexiseg score``, whose numbers the card shows.
        licence: Licence of the weights that were trained, as an SPDX name; None leaves it unsaid.
        trust: See ``lexiseg.load``.

    Returns:
        The parts that the model is made of.

    Raises:
        InputError: It is a model of another kind, an unfinished run, or the folder holds something.
        CheckpointError: A report or a file of the model is damaged.
    """
    model = second_run(model)
    kind = find_kind(model).name
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            doing=f"packing into {out}",
            found="a file" if out.is_file() else "a folder with something in it",
            expected="a new or an empty folder",
            fix="Give another with --out.",
        )
    parts = list_parts(model, trust=trust)
    contents = _contents(model, kind)
    scores = [score for report in reports for score in _scores_of(report)]
    card = Card(
        name=out.name,
        kind=kind,
        parts=parts,
        licence=licence,
        data=contents.data,
        command=contents.command,
        validation=contents.scores,
        scores=tuple(scores),
    )
    with atomic_folder(out) as folder:
        folder.mkdir(exist_ok=True)
        for name, file in contents.files.items():
            shutil.copyfile(file, folder / name)
        if contents.config is not None:
            text = json.dumps(contents.config, indent=1, ensure_ascii=False) + "\n"
            (folder / CONFIG).write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(card_text(card), encoding="utf-8")
    return parts


def _contents(model: str, kind: str) -> _Contents:
    if kind == "run":
        return _of_run(Path(model).expanduser())
    if kind == "head":
        return _of_head(Path(model).expanduser())
    if kind == "checkpoint":
        folder = resolve_checkpoint(model)
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
        wanted = [*filter(SETTINGS.fullmatch, names), *wanted_weights(names)]
        files = {name: folder / name for name in wanted}
        return _Contents(config=None, files=files, data=None, command="", scores={})
    raise InputError(
        doing=f"packing {model} for the hub",
        found=f"a {kind}",
        expected="a finished run, a head of lexiseg fit, or a checkpoint",
        fix="mini comes with pip and own code with its package; a bank or a graph is one file, which is shared as it is.",
    )


def _of_run(folder: Path) -> _Contents:
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            doing=f"packing the run {folder}",
            found=f"no {WEIGHTS}: the run is not finished",
            expected="a run that has come to its end",
            fix="Go on with it: lexiseg train … --out … --resume.",
        )
    recipe = read_part(folder, RECIPE)
    config: dict[str, Any] = _config("run")
    config["recipe"] = {**recipe, "settings": _without_places(recipe.get("settings"))}
    described = _optional(folder, MODEL)
    if described is not None:
        config["model"] = described
    data = _optional(folder, DATA)
    if data is not None:
        config["data"] = _without_places(data)
    environment = _optional(folder, ENVIRONMENT) or {}
    starts = environment.get("starts") if isinstance(environment.get("starts"), list) else None
    config["environment"] = {"starts": starts or []}
    files = {WEIGHTS: folder / WEIGHTS, **_if_there(folder, TRAINED_ON)}
    command = str(starts[-1].get("command", "")) if starts and isinstance(starts[-1], dict) else ""
    facts = (data or {}).get("facts")
    return _Contents(
        config=config, files=files, data=facts, command=_plain_command(command), scores=last_scores(folder)
    )


def _of_head(folder: Path) -> _Contents:
    content = (
        read_part(folder, head_folder.HEAD)
        if packed_kind(folder) == "head"
        else read_json_file(folder / head_folder.HEAD)
    )
    head_folder.read_head(folder)  # refuses a damaged one in our own words
    config = {**_config("head"), "head": content}
    files = {WEIGHTS: head_folder.weight_file(folder), **_if_there(folder, TRAINED_ON)}
    facts = content.get("facts") or {}
    return _Contents(
        config=config, files=files, data=facts, command="lexiseg fit FOLDER --out HEAD", scores={}
    )


def _config(kind: PackedKind) -> dict[str, Any]:
    from importlib.metadata import version

    return {"library_name": LIBRARY, "lexiseg_version": version("lexiseg"), "kind": kind}


def _optional(folder: Path, name: str) -> dict[str, Any] | None:
    try:
        return read_part(folder, name)
    except CheckpointError:
        if (folder / name).exists():
            raise
        return None


def _if_there(folder: Path, name: str) -> dict[str, Path]:
    return {name: folder / name} if (folder / name).is_file() else {}


def _without_places(value: Any, name: str = "") -> Any:
    """Keep the last part alone of what says where data lay."""
    if isinstance(value, dict):
        return {key: _without_places(item, key) for key, item in value.items()}
    if isinstance(value, str) and name in _PLACES and ("/" in value or "\\" in value):
        return Path(value.replace("\\", "/")).name
    return value


def _plain_command(command: str) -> str:
    """Write a command as a person types it, without where the program and the files lay."""
    words = command.split()
    plain = [
        word.rpartition("/")[2] if "/" in word and word.startswith(("/", "~", ".")) else word
        for word in words
    ]
    if plain and plain[0] in ("__main__.py", "lexiseg"):
        plain[0] = "lexiseg"
    return " ".join(plain)


def _scores_of(report: Path) -> list[CardScore]:
    try:
        content = read_json_file(report)
        dataset = str(content["settings"].get("dataset") or "folder")
        return [
            CardScore(
                dataset=dataset,
                split=str(content.get("split") or ""),
                protocol=str(each["name"]),
                metric=str(each["metric"]),
                value=float(each["score"]),
                low=_number(each["interval"][0]),
                high=_number(each["interval"][1]),
                num_images=int(content["num_images"]),
            )
            for each in content["protocols"]
            if each["score"] is not None
        ]
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            doing=f"reading the report {report}",
            found=getattr(error, "strerror", None) or f"{type(error).__name__}: {error}",
            expected="JSON that lexiseg evaluate --json or lexiseg score --json wrote",
            fix="Score the model again with --json.",
        ) from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
