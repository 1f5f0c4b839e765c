"""Load a model by name, hub id or folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.engine.devices import choose_device as choose_device
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.models.hub import KNOWN_WEIGHTS, is_cached
from lexiseg.models.pip_weights import PipWeights
from lexiseg.recipes.dense_similarity import build_dense_similarity
from lexiseg.recipes.mini import MINI_WEIGHTS, build_mini
from lexiseg.recipes.rim import CLASSICAL_PROPOSER, build_rim
from lexiseg.runs.folder import is_run_folder


def build_trained(name: str | os.PathLike[str]) -> Segmenter:
    """Build the model of a run with the weights it ended with, or has come to.

    Raises:
        CheckpointError: A part of the run is missing or damaged.
        InputError: The model is not one that segments.
    """
    from lexiseg.models.checkpoint import fingerprint
    from lexiseg.runs.folder import load_run, read_recipe

    folder = Path(name).expanduser()
    model = load_run(folder)
    if not isinstance(model, Segmenter):
        raise InputError(
            doing=f"loading the run {folder}",
            found=f"a {type(model).__name__}, which does not segment",
            expected="a run of a method that is a Segmenter",
            fix="Use lexiseg.runs.folder.load_run to get the model as it is.",
        )
    model.name = str(name)
    model.method_settings = {
        **model.method_settings,
        "recipe": read_recipe(folder)[0],
        "weights": fingerprint(model),
    }
    return model


#: Our own models by name; ``rim`` is one more, which needs references. Anything else is a checkpoint folder or a hub id.
RECIPES: dict[str, Callable[[], Segmenter]] = {"mini": build_mini}


def load(
    name: str | os.PathLike[str] = "mini",
    *,
    device: str = "auto",
    references: str | os.PathLike[str] | None = None,
    proposer: str = CLASSICAL_PROPOSER,
    method: RIMSettings | None = None,
) -> Segmenter:
    """Load a model, ready to segment.

    Args:
        name: ``mini``, ``rim``, the hub id of a CLIP, SigLIP or SigLIP 2 checkpoint such as
            ``openai/clip-vit-base-patch16``, a local folder in the hub's layout, or the folder of a run of
            ``lexiseg train``.
        device: ``cpu``, ``cuda``, …; ``auto`` takes a GPU when there is one.
        references: For ``rim``: the bank that ``lexiseg references build`` wrote.
        proposer: For ``rim``: ``classical``, or a SAM checkpoint.
        method: For ``rim``: how regions are matched.

    Raises:
        InputError: ``rim`` without references.
        UnknownNameError: It is none of these.
        InputError: It is not a name at all, is a run of something that cannot segment, or the device cannot
            be used.
        MissingWeightsError: The weights are not on this machine and cannot be fetched.
        CheckpointError: The weights are incomplete, mis-shaped or unsafe.
    """
    name = _text(name)
    place = choose_device(device)
    if name == "rim":
        segmenter = build_rim(references, proposer=proposer, method=method)
    elif name in RECIPES:
        segmenter = RECIPES[name]()
    elif is_run_folder(name):
        segmenter = build_trained(name)
    elif "/" in name or "\\" in name or os.path.exists(os.path.expanduser(name)):
        segmenter = build_dense_similarity(name)
    else:
        raise UnknownNameError.of("model", name, [*RECIPES, "rim", *KNOWN_WEIGHTS])
    return segmenter.to(place).eval().requires_grad_(False)


def _text(name: object) -> str:
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else name
    if isinstance(path, str):
        return path
    raise InputError(
        doing="loading a model",
        found=f"{name!r}, a {type(name).__name__}",
        expected="a name, a hub id or the path of a checkpoint folder",
        fix='Call lexiseg.load("mini"), or give the path as a string or pathlib.Path.',
    )


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model that can be loaded by a name we list.

    Attributes:
        name: What ``load`` takes.
        summary: What it is, in a few words.
        megabytes: Size of its weights.
        licence: Licence of its weights.
        how_to_get: What to do where they are missing.
        parts: Files that come through pip, none for a hub checkpoint.
    """

    name: str
    summary: str
    megabytes: int
    licence: str
    how_to_get: str
    parts: tuple[PipWeights, ...] = ()

    def states(self) -> Iterator[tuple[str, Literal["intact", "missing", "altered", "present"]]]:
        """Give each part of the weights and how it stands; hashes files that come through pip."""
        for part in self.parts:
            yield f"{part.package} {part.file.rpartition('/')[2]}", part.state()
        if not self.parts:
            yield "", "present" if is_cached(self.name) else "missing"

    def is_here(self) -> bool:
        """Tell whether ``load`` will work without a network."""
        if self.parts:
            return all((path := part.path()) is not None and path.is_file() for part in self.parts)
        return is_cached(self.name)


def known_models() -> list[KnownModel]:
    """List the embedded model, then the hub checkpoints people ask for."""
    mini = KnownModel(
        name="mini",
        summary="embedded default: ImageNet names, no training; a floor",
        megabytes=sum(part.megabytes for part in MINI_WEIGHTS),
        licence=", ".join(sorted({part.licence for part in MINI_WEIGHTS})),
        how_to_get='pip install "lexiseg[mini]"',
        parts=MINI_WEIGHTS,
    )
    hub = [
        KnownModel(
            name=name,
            summary="dense similarity, from image-text pairs",
            megabytes=weights.megabytes,
            licence=weights.licence,
            how_to_get=f"hf download {name}",
        )
        for name, weights in KNOWN_WEIGHTS.items()
    ]
    return [mini, *hub]
