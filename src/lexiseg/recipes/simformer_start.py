"""Where a weak-shot training may start from instead of a backbone: a published MaskFormer, or an earlier run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lexiseg.core.errors import CheckpointError, InputError, VocabularyError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.engine.loop import load_final
from lexiseg.methods.simformer.model import SimFormer
from lexiseg.models.backbones import build_backbone
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.maskformer import MaskFormer, MaskFormerSettings
from lexiseg.models.maskformer_checkpoint import load_maskformer
from lexiseg.recipes.maskformer import vocabulary_of

_SIMNET = "pair_losses.simnet."
_NETWORK = "network."


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """A trained network to start from.

    Attributes:
        network: With its weights.
        vocabulary: What its class logits are called.
        simnet: Weights of its SimNet by name; empty where it has none.
    """

    network: MaskFormer
    vocabulary: Vocabulary
    simnet: dict[str, Tensor] = field(default_factory=dict)

    def give_weights(self, model: SimFormer) -> list[str]:
        """Put the weights into a model of the same sizes; return the classes whose class weights it got.

        "No object" keeps its weights too. A class of another name keeps its first weights.
        """
        tensors = self.network.state_dict()
        own = model.network.state_dict()
        places, taken = [], []
        for label, words in enumerate(model.vocabulary.all_names()):
            place = next((at for word in words if (at := _place(self.vocabulary, word)) is not None), None)
            if place is not None:
                places.append((label, place))
                taken.append(words[0])
        places.append((len(model.vocabulary), len(self.vocabulary)))
        here, there = (torch.tensor(each) for each in zip(*places, strict=True))
        for name in ("class_head.weight", "class_head.bias"):
            rows = own[name].clone()
            rows[here] = tensors[name][there]
            tensors[name] = rows
        model.network.load_state_dict(tensors)
        if model.pair_losses is not None and self.simnet:
            model.pair_losses.simnet.load_state_dict(self.simnet)
        return taken


def load_start(name: str) -> Start:
    """Load a network to start from.

    Args:
        name: Hub id or folder of a MaskFormer checkpoint, or the folder of a finished run of SimFormer.

    Raises:
        MissingWeightsError: The checkpoint is not here and cannot be fetched.
        CheckpointError: It is here and cannot be used.
        InputError: It is a run of something else.
    """
    folder = Path(name).expanduser()
    if (folder / "recipe.json").is_file():
        return _of_run(folder)
    loaded = load_maskformer(resolve_checkpoint(name))
    return Start(network=loaded.network, vocabulary=vocabulary_of(loaded.class_names))


def _of_run(folder: Path) -> Start:
    described, settings = (_read(folder / file) for file in ("model.json", "recipe.json"))
    tensors = load_final(folder)
    if not any(key.startswith(f"{_NETWORK}mask_decoder.") for key in tensors):
        raise InputError(
            doing=f"starting from the run {folder}",
            found="a run of something else than proposals",
            expected="a run of SimFormer (classifier masks), or a MaskFormer checkpoint",
            fix="Give another folder with --init-from.",
        )
    try:
        vocabulary = Vocabulary(
            names=tuple(described["names"]),
            synonyms=tuple(tuple(words) for words in described["synonyms"]),
        )
        sizes = MaskFormerSettings(**(described.get("network") or settings["settings"]["network"]))
        network = MaskFormer(build_backbone(described["backbone"]), len(vocabulary), sizes)
        network.load_state_dict(_below(tensors, _NETWORK))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            doing=f"starting from the run {folder}",
            found=f"{type(error).__name__}: {error}",
            expected="model.json and weights that lexiseg train wrote there",
            fix="Bring them back, or use the version of Lexiseg that wrote them.",
        ) from error
    return Start(network=network, vocabulary=vocabulary, simnet=_below(tensors, _SIMNET))


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _place(vocabulary: Vocabulary, word: str) -> int | None:
    try:
        return vocabulary.index(word)
    except VocabularyError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            doing=f"reading {path}",
            found=str(error),
            expected="the file that lexiseg train wrote there",
            fix="Bring it back, or start from another run.",
        ) from error
