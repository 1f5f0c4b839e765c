"""Mask2Former and OneFormer checkpoints of the hub, as networks that propose masks with a class each.

Cheng, Misra, Schwing, Kirillov, Girdhar, "Masked-attention Mask Transformer for Universal Image Segmentation"
(Mask2Former), CVPR 2022; Jain, Li, Chiu, Hassani, Orlov, Shi, "OneFormer: One Transformer to Rule Universal Image
Segmentation", CVPR 2023. The networks are transformers' classes; what is ours is that a checkpoint is read whole or not at
all, and that pixels are normalised inside.

OneFormer is told its task in words. It is asked for semantic segmentation here: "the task is semantic".
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError
from lexiseg.models.checkpoint import build_model, read_class_names, read_config, transformers_class
from lexiseg.models.meta_networks import keep_index_tables
from lexiseg.models.pixel_normalisation import load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import BytePairTokenizer

#: Types of checkpoints, and the classes of transformers that they are.
TYPES = {
    "mask2former": ("Mask2FormerConfig", "Mask2FormerForUniversalSegmentation"),
    "oneformer": ("OneFormerConfig", "OneFormerForUniversalSegmentation"),
}
_TASK, _TASK_LENGTH = "the task is semantic", 77


class UniversalSegmenter(nn.Module):
    """Images to the masks and classes of the last decoder layer.

    Args:
        network: One of transformers' classes, in evaluation mode.
        normalisation: Of the pixels.
        task: Token ids of the task, as numbers; None for a network that has one task.

    Attributes:
        num_classes: Without "no object".
        stride: Pixels per position of the mask logits.
        size_divisor: What sides have to be multiples of.
    """

    stride = 4
    size_divisor = 32
    task: Tensor | None

    def __init__(self, network: Any, normalisation: nn.Module, task: Float[Tensor, "1 L"] | None) -> None:
        super().__init__()
        self.network, self.normalisation = network, normalisation
        self.num_classes = int(network.config.num_labels)
        self.register_buffer("task", task)

    def propose(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B Q C1"], Float[Tensor, "B Q h w"]]:
        """Return class logits, "no object" last, and mask logits of RGB images with values in [0, 1].

        Args:
            images: Sides are multiples of ``size_divisor``.
        """
        told = {} if self.task is None else {"task_inputs": self.task.expand(len(images), -1)}
        output = self.network(pixel_values=self.normalisation(images), **told)
        return output.class_queries_logits, output.masks_queries_logits


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedUniversal:
    """A published network and what its classes are called.

    Attributes:
        network: Frozen, in evaluation mode.
        class_names: In the order of the class logits, without "no object".
    """

    network: UniversalSegmenter
    class_names: tuple[str, ...]


def load_universal(folder: Path) -> LoadedUniversal:
    """Load a Mask2Former or OneFormer checkpoint: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load, or its backbone is
            not a Swin.
    """
    config = read_config(folder, tuple(TYPES))
    names = read_class_names(config, folder)
    backbone = config.get("backbone_config")
    if not isinstance(backbone, dict) or backbone.get("model_type") != "swin":
        kind = backbone.get("model_type") if isinstance(backbone, dict) else None
        raise CheckpointError(
            doing=f"reading {folder / 'config.json'}",
            found=f"a backbone of type {kind!r}",
            expected="a Swin, which needs nothing that is compiled for one machine",
            fix="Choose a checkpoint like facebook/mask2former-swin-small-ade-semantic or shi-labs/oneformer_ade20k_swin_tiny.",
        )
    config_class, model_class = TYPES[config["model_type"]]

    def build() -> nn.Module:
        # The part of OneFormer that reads captions in training is not built.
        told = {"is_training": False} if config["model_type"] == "oneformer" else {}
        settings = transformers_class(config_class).from_dict({**config, **told})
        network = transformers_class(model_class)(settings)
        keep_index_tables(network)
        network.criterion = None  # what only training reads
        return network

    of_swin = published_names("swin_backbone")
    network = build_model(folder, build, targets=lambda name: _targets(name, of_swin))
    task = None
    if config["model_type"] == "oneformer":
        task = _task_tokens(folder, int(config.get("task_seq_len", _TASK_LENGTH)))
    universal = UniversalSegmenter(network, load_normalisation(folder), task)
    return LoadedUniversal(network=universal.eval(), class_names=names)


_SWIN = re.compile(r"^model\.pixel_level_module\.encoder\.")


def _targets(name: str, of_swin: Any) -> tuple[str, ...]:
    """Return the name of a file's tensor in the network; what only training reads is left out."""
    if name.startswith(("criterion.", "model.text_mapper.")):
        return ()
    found = _SWIN.match(name)
    if found is None:
        return (name,)
    return tuple(f"{found[0]}{part}" for part in of_swin(name[found.end() :]))


def _task_tokens(folder: Path, length: int) -> Float[Tensor, "1 L"]:
    """Write the task in the numbers of the folder's tokenizer, filled up with zeros: the network reads them as such."""
    row = BytePairTokenizer(folder).ids([_TASK], length)[0]
    return torch.tensor([row + [0] * (length - len(row))], dtype=torch.float32)
