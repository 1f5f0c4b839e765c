"""Load GroupViT from a folder in the layout of transformers' ``GroupViTModel``."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lexiseg.core.errors import CheckpointError
from lexiseg.models.checkpoint import build_model, read_config, transformers_class
from lexiseg.models.groupvit import GroupViTNetwork
from lexiseg.models.groupvit_encoders import GroupViTImageEncoder, GroupViTTextEncoder
from lexiseg.models.groupvit_shape import GroupViTShape
from lexiseg.models.pixel_normalisation import load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import (
    check_end_token,
    check_vocabulary_size,
    load_tokenizer,
    tokenize,
    unknown_share,
)


def load_groupvit(
    folder: Path, *, hard_maps: bool = False
) -> tuple[GroupViTImageEncoder, GroupViTTextEncoder, nn.Parameter]:
    """Load a checkpoint of transformers' ``GroupViTModel``: a folder in hub layout.

    Args:
        folder: Holds ``config.json``, ``model.safetensors``, the tokenizer and the pixel statistics.
        hard_maps: See ``segment_shares``.

    Returns:
        The encoders, in evaluation mode, and the logarithm of what cosines are multiplied by.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = transformers_class("GroupViTConfig").from_dict(read_config(folder, ("groupvit",)))
    network = build_model(folder, lambda: _network(folder, config), targets=published_names("groupvit"))
    tokenizer = load_tokenizer(folder)
    check_vocabulary_size(folder, tokenizer, config.text_config.vocab_size)
    check_end_token(folder, tokenizer, config.text_config.eos_token_id)
    image = GroupViTImageEncoder(network, load_normalisation(folder), hard_maps=hard_maps)
    reads = partial(tokenize, tokenizer, max_tokens=network.shape.max_tokens)
    knows = partial(unknown_share, tokenizer, unknown_id=None)  # it reads bytes
    text = GroupViTTextEncoder(network, reads, tokenizer.to_str(), unknown_share=knows)
    return image.eval(), text.eval(), network.logit_scale


def _network(folder: Path, config: Any) -> GroupViTNetwork:
    vision, text = config.vision_config, config.text_config
    _check_activation(folder, "vision_config", vision.hidden_act, ("gelu",))
    _check_activation(folder, "text_config", text.hidden_act, ("quick_gelu", "gelu"))
    ratios = vision.assign_mlp_ratio
    token_ratio, channel_ratio = ratios if isinstance(ratios, list | tuple) else (ratios, ratios)
    shape = GroupViTShape(
        width=vision.hidden_size,
        num_heads=vision.num_attention_heads,
        patch=vision.patch_size,
        image_side=vision.image_size,
        depths=tuple(vision.depths),
        group_tokens=tuple(vision.num_group_tokens),
        groups=tuple(vision.num_output_groups),
        token_ratio=float(token_ratio),
        channel_ratio=float(channel_ratio),
        feed_forward=vision.intermediate_size,
        divisor_offset=float(vision.assign_eps),
        text_width=text.hidden_size,
        text_depth=text.num_hidden_layers,
        text_heads=text.num_attention_heads,
        text_feed_forward=text.intermediate_size,
        max_tokens=text.max_position_embeddings,
        projection_hidden=config.projection_intermediate_dim,
        embedding_dim=config.projection_dim,
        norm_eps=vision.layer_norm_eps,
    )
    return GroupViTNetwork(shape, text.vocab_size, text.hidden_act)


def _check_activation(folder: Path, part: str, found: str, supported: tuple[str, ...]) -> None:
    if found not in supported:
        raise CheckpointError(
            doing=f"reading {folder / 'config.json'}",
            found=f"hidden_act {found!r} in {part}",
            expected=f"one of: {', '.join(supported)}",
            fix="Choose a GroupViT checkpoint as it is published.",
        )
