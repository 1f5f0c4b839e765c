"""The folder of a head on frozen features: ``head.json``, ``head.safetensors``, ``trained_on.tsv``."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lexiseg.core.atomic_write import atomic_path, is_left_over
from lexiseg.core.errors import CheckpointError
from lexiseg.core.json_text import read_json_file
from lexiseg.core.tensor_digest import tensor_digest
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.trained_on import TrainedOn
from lexiseg.engine.checkpoint import read_tensors, write_tensors
from lexiseg.engine.loop import WEIGHTS
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.frozen_head.head import FrozenHead, LinearHead, head_inference
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.recipes.frozen_head import num_alike, open_describer
from lexiseg.runs.packed_folder import packed_kind, packed_part
from lexiseg.runs.settings_json import settings_from_json, settings_to_json

HEAD, WEIGHT, TRAINED_ON = "head.json", "head.safetensors", "trained_on.tsv"
FORMAT = 2
#: Written before heads smoothed.
_UNSMOOTHED_FORMAT = 1


def is_head_folder(name: str) -> bool:
    """Return whether a name is that of a folder which ``lexiseg fit`` wrote, or one packed from it."""
    folder = os.path.expanduser(name)  # no error for names that no file can have
    return os.path.isfile(os.path.join(folder, HEAD)) or packed_kind(folder) == "head"


def is_unfinished(name: str) -> bool:
    """Return whether a file is one that ``lexiseg fit`` writes before ``head.json``, which says that all is there."""
    return name in (WEIGHT, TRAINED_ON) or is_left_over(name)


def write_head(
    folder: Path,
    weight: Float[Tensor, "F K"],
    vocabulary: Vocabulary,
    settings: FrozenHeadSettings,
    facts: Mapping[str, Any],
) -> None:
    """Write a head; ``head.json`` comes last and says that there is one.

    Raises:
        OutputError: The folder cannot be written.
    """
    with atomic_path(folder / WEIGHT) as temporary:
        write_tensors(temporary, {"weight": weight})
    content = {
        "format": FORMAT,
        "names": list(vocabulary.names),
        "synonyms": [list(words) for words in vocabulary.synonyms],
        "background": vocabulary.background,
        "seen": None if vocabulary.seen is None else sorted(vocabulary.seen),
        "settings": settings_to_json(settings),
        "facts": dict(facts),
    }
    with atomic_path(folder / HEAD) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_head(folder: Path) -> tuple[Vocabulary, FrozenHeadSettings, dict[str, Any]]:
    """Read what a head is.

    Raises:
        CheckpointError: ``head.json`` is damaged.
    """
    path = folder / HEAD
    try:
        content = packed_part(folder, HEAD) or read_json_file(path)
        if content["format"] not in (FORMAT, _UNSMOOTHED_FORMAT):
            raise ValueError(f"format {content['format']!r}")
        seen = content["seen"]
        vocabulary = Vocabulary(
            names=tuple(content["names"]),
            synonyms=tuple(tuple(words) for words in content["synonyms"]),
            background=content["background"],
            seen=None if seen is None else frozenset(seen),
        )
        written = content["settings"]
        if content["format"] == _UNSMOOTHED_FORMAT:
            written = {**written, "smoothing": 0.0, "kept_prior": 0.0}
        settings = settings_from_json(FrozenHeadSettings, written, source=str(path))
        facts = dict(content.get("facts") or {})
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise CheckpointError(
            doing=f"reading {path}",
            found=getattr(error, "strerror", None) or str(error),
            expected="what lexiseg fit wrote",
            fix="Fit it again: lexiseg fit FOLDER --out HEAD; features that are kept are not computed again.",
        ) from error
    return vocabulary, settings, facts


def weight_file(folder: Path) -> Path:
    """Return the file of a head's matrix, which has the hub's name where the head is packed for it."""
    return folder / (WEIGHTS if packed_kind(folder) == "head" else WEIGHT)


def build_head(name: str, *, remembers: bool = False) -> Segmenter:
    """Build the model of a head's folder.

    Args:
        name: The folder.
        remembers: Keep the features of images that it segments on disk, and take those that are there.

    Raises:
        CheckpointError: A part of it is missing or damaged.
        MissingWeightsError: The frozen networks that it reads are not here.
    """
    folder = Path(name).expanduser()
    vocabulary, settings, facts = read_head(folder)
    weights = weight_file(folder)
    tensors = read_tensors(weights)
    weight = tensors.get("weight")
    if weight is None or weight.dim() != 2 or weight.shape[1] != len(vocabulary):
        raise CheckpointError(
            doing=f"reading {weights}",
            found="no matrix" if weight is None else f"a tensor of {tuple(weight.shape)}",
            expected=f"one column for each of {len(vocabulary)} classes",
            fix="Fit it again: lexiseg fit FOLDER --out HEAD.",
        )
    describer = open_describer(settings, vocabulary)
    if facts.get("describer") not in (None, describer.fingerprint):
        raise CheckpointError(
            doing=f"loading {folder}",
            found=f"another {settings.backbone} or mini than it was fitted on",
            expected="the same frozen networks: the head reads their numbers",
            fix="Fit it again: lexiseg fit FOLDER --out HEAD.",
        )
    model = FrozenHead(
        describer if remembers else describer.encoder,
        LinearHead(weight, num_alike=num_alike(describer), smoothing=settings.smoothing),
        vocabulary,
        settings=head_inference(
            settings.short_side, settings.max_long_side, has_background=vocabulary.background is not None
        ),
        facts={**asdict(settings), "labels": facts.get("labels"), "weights": tensor_digest(tensors)},
        name=name,
    )
    model.trained_on = TrainedOn.read(folder / TRAINED_ON)
    return model
