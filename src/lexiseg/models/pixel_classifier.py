"""SegFormer, DPT and UperNet checkpoints of the hub, as networks that score their own classes at every pixel.

Xie et al., "SegFormer", NeurIPS 2021; Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction" (DPT), ICCV
2021; Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (UperNet), ECCV 2018. The networks are transformers'
classes; what is ours is that a checkpoint is read whole or not at all, and that pixels are normalised inside.

Differences from transformers' classes: UperNet's scores are handed on at a quarter of the image, not resized twice; DPT
takes images of any shape, where transformers' class takes squares.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError
from lexiseg.layers.frozen_batch_norm import freeze_batch_norms
from lexiseg.models.checkpoint import build_model, read_class_names, read_config, transformers_class
from lexiseg.models.meta_networks import keep_index_tables
from lexiseg.models.pixel_normalisation import load_normalisation
from lexiseg.models.published_names import published_names

_UPERNET_BACKBONES = ("convnext", "swin")


def _segformer_logits(network: Any, pixels: Tensor) -> Tensor:
    return network(pixel_values=pixels).logits


def _upernet_logits(network: Any, pixels: Tensor) -> Tensor:
    return network.decode_head(network.backbone(pixels).feature_maps)


def _dpt_logits(network: Any, pixels: Tensor) -> Tensor:
    patch = int(network.config.patch_size)
    states = network.dpt(pixels, output_hidden_states=True).hidden_states
    chosen = [states[index + 1] for index in network.config.backbone_out_indices]
    return network.head(network.neck(chosen, pixels.shape[2] // patch, pixels.shape[3] // patch))


@dataclass(frozen=True, kw_only=True)
class _Family:
    config_class: str
    model_class: str
    logits: Callable[[Any, Tensor], Tensor]
    stride: int
    size_divisor: int
    example: str


#: Families by the ``model_type`` of their config.json.
TYPES: dict[str, _Family] = {
    "dpt": _Family(
        config_class="DPTConfig",
        model_class="DPTForSemanticSegmentation",
        logits=_dpt_logits,
        stride=1,
        size_divisor=32,
        example="Intel/dpt-large-ade",
    ),
    "segformer": _Family(
        config_class="SegformerConfig",
        model_class="SegformerForSemanticSegmentation",
        logits=_segformer_logits,
        stride=4,
        size_divisor=32,
        example="nvidia/segformer-b0-finetuned-ade-512-512",
    ),
    "upernet": _Family(
        config_class="UperNetConfig",
        model_class="UperNetForSemanticSegmentation",
        logits=_upernet_logits,
        stride=4,
        size_divisor=32,
        example="openmmlab/upernet-convnext-tiny",
    ),
}


class PixelClassifier(nn.Module):
    """Images to a score of every class at every position.

    Args:
        network: One of transformers' classes, in evaluation mode.
        normalisation: Of the pixels.
        kind: A key of ``TYPES``.

    Attributes:
        num_classes: Its classes.
        stride: Pixels per position.
        size_divisor: What sides have to be multiples of.
    """

    def __init__(self, network: Any, normalisation: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.normalisation = network, normalisation
        self.num_classes = int(network.config.num_labels)
        self.stride, self.size_divisor = TYPES[kind].stride, TYPES[kind].size_divisor
        self._logits = TYPES[kind].logits

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K h w"]:
        """Return class logits of RGB images with values in [0, 1].

        Args:
            images: Sides are multiples of ``size_divisor``.
        """
        return self._logits(self.network, self.normalisation(images))

    @contextmanager
    def written_out_attention(self) -> Iterator[None]:
        """Compute attention step by step for a while: torch's fused one asks for facts that a graph of free sizes has not."""
        configs: dict[int, Any] = {
            id(each.config): each.config for each in self.modules() if hasattr(each, "config")
        }
        before = {key: getattr(config, "_attn_implementation", None) for key, config in configs.items()}
        fused = [key for key, name in before.items() if name == "sdpa"]
        for key in fused:
            configs[key]._attn_implementation = "eager"
        try:
            yield
        finally:
            for key in fused:
                configs[key]._attn_implementation = before[key]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedPixelClassifier:
    """A published network and what its classes are called.

    Attributes:
        network: Frozen, in evaluation mode.
        class_names: In the order of the logits.
    """

    network: PixelClassifier
    class_names: tuple[str, ...]


def load_pixel_classifier(folder: Path) -> LoadedPixelClassifier:
    """Load a SegFormer, DPT or UperNet checkpoint that segments: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load, is a checkpoint of
            the same family for something else, or has a backbone that is not read.
    """
    config = read_config(folder, tuple(TYPES))
    family = TYPES[config["model_type"]]
    architectures = config.get("architectures") or [family.model_class]
    if family.model_class not in architectures:
        raise _not_ours(folder, f"a {', '.join(map(str, architectures))}", family)
    backbone = config.get("backbone_config")
    if config["model_type"] == "upernet":
        kind = backbone.get("model_type") if isinstance(backbone, dict) else None
        if kind not in _UPERNET_BACKBONES:
            raise _not_ours(folder, f"a backbone of type {kind!r}", family)
    elif config.get("is_hybrid") or backbone is not None:
        raise _not_ours(folder, "a network with a backbone of another family", family)
    names = read_class_names(config, folder)

    def build() -> nn.Module:
        settings = transformers_class(family.config_class).from_dict(config)
        network = transformers_class(family.model_class)(settings)
        network.auxiliary_head = None  # what only training reads
        freeze_batch_norms(network)
        keep_index_tables(network)
        return network

    network = build_model(folder, build, targets=published_names(config["model_type"]))
    classifier = PixelClassifier(network, load_normalisation(folder), config["model_type"])
    return LoadedPixelClassifier(network=classifier.eval(), class_names=names)


def _not_ours(folder: Path, found: str, family: _Family) -> CheckpointError:
    backbones = (
        f" with a backbone that is one of: {', '.join(_UPERNET_BACKBONES)}"
        if "UperNet" in family.model_class
        else ""
    )
    return CheckpointError(
        doing=f"reading {folder / 'config.json'}",
        found=found,
        expected=f"a {family.model_class}{backbones}",
        fix=f"Choose a checkpoint like {family.example}.",
    )
