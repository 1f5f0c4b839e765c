"""Read MaskFormer checkpoints in the hub's layout into our network.

Networks with ResNet or Swin backbones, as published for ADE20K, COCO and COCO-Stuff.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lexiseg.core.errors import CheckpointError
from lexiseg.models.backbones import TransformersPyramid, build_resnet, build_swin
from lexiseg.models.checkpoint import build_model, read_class_names, read_config
from lexiseg.models.maskformer import MaskFormer, MaskFormerSettings
from lexiseg.models.pixel_normalisation import load_normalisation
from lexiseg.models.published_names import COUNTS_AND_TABLES

_BACKBONES = {"resnet": build_resnet, "swin": build_swin, "maskformer-swin": build_swin}
_NORM_GROUPS = 32  # in no file: it is written in transformers' code

_PATTERNS = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^model\.pixel_level_module\.encoder\.", "backbone.network."),
        (r"^model\.pixel_level_module\.decoder\.mask_projection\.", "pixel_decoder.embedding."),
        (r"^model\.pixel_level_module\.decoder\.fpn\.stem\.", "pixel_decoder.top."),
        (r"^model\.transformer_module\.queries_embedder\.", "mask_decoder.queries."),
        (r"^model\.transformer_module\.input_projection\.", "mask_decoder.project."),
        (r"^model\.transformer_module\.decoder\.layernorm\.", "mask_decoder.norm."),
        (r"^model\.transformer_module\.decoder\.layers\.", "mask_decoder.layers."),
        (r"^class_predictor\.", "class_head."),
    )
)
_IN_DECODER_LAYER = (
    ("self_attn_layer_norm.", "among_norm."),
    ("encoder_attn_layer_norm.", "to_image_norm."),
    ("final_layer_norm.", "network_norm."),
    ("self_attn.", "among."),
    ("encoder_attn.", "to_image."),
    ("q_proj.", "query."),
    ("k_proj.", "key."),
    ("v_proj.", "value."),
    ("out_proj.", "out."),
    ("o_proj.", "out."),
    ("mlp.", ""),
    ("fc1.", "widen."),
    ("fc2.", "narrow."),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedMaskFormer:
    """A published network and what its classes are called.

    Attributes:
        network: Frozen, in evaluation mode.
        class_names: In the order of the class logits, without "no object".
    """

    network: MaskFormer
    class_names: tuple[str, ...]


def load_maskformer(folder: Path) -> LoadedMaskFormer:
    """Load a transformers ``MaskFormerForInstanceSegmentation`` checkpoint: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load, or describes
            a variant that was never published.
    """
    config = read_config(folder, ("maskformer",))
    names = read_class_names(config, folder)
    backbone, decoder = config.get("backbone_config"), config.get("decoder_config")
    if not isinstance(backbone, dict) or not isinstance(decoder, dict):
        raise _not_ours(folder, "no backbone_config and decoder_config")
    if backbone.get("model_type") not in _BACKBONES:
        raise _not_ours(folder, f"a backbone of type {backbone.get('model_type')!r}")
    width = decoder.get("d_model", 256)
    sizes = {config.get(name, 256) for name in ("fpn_feature_size", "mask_feature_size")} | {width}
    if len(sizes) > 1:
        raise _not_ours(folder, f"embeddings of different sizes: {sorted(sizes)}")
    if decoder.get("activation_function", "relu") != "relu":
        raise _not_ours(folder, f"activation {decoder['activation_function']!r}")
    settings = MaskFormerSettings(
        num_queries=decoder.get("num_queries", 100),
        width=width,
        num_layers=decoder.get("decoder_layers", 6),
        num_heads=decoder.get("decoder_attention_heads", 8),
        feedforward=decoder.get("decoder_ffn_dim", 2048),
        dropout=decoder.get("dropout", 0.1),
        norm_groups=_NORM_GROUPS,
    )
    top_lateral = len(backbone.get("depths", (1, 1, 1, 1))) - 2

    def build() -> MaskFormer:
        pyramid: TransformersPyramid = _BACKBONES[backbone["model_type"]](backbone, nn.Identity())
        return MaskFormer(pyramid, len(names), settings)

    network = build_model(folder, build, targets=lambda name: _targets(name, top_lateral))
    assert isinstance(network.backbone, TransformersPyramid)
    network.backbone.normalisation = load_normalisation(folder)
    return LoadedMaskFormer(network=network.eval(), class_names=names)


def _targets(name: str, top_lateral: int) -> tuple[str, ...]:
    """Return the name of a file's tensor in our network; the loss's class weights are left out."""
    if name.startswith("criterion.") or any(re.search(pattern, name) for pattern in COUNTS_AND_TABLES):
        return ()
    if level := re.match(r"^model\.pixel_level_module\.decoder\.fpn\.layers\.(\d+)\.(proj|block)\.", name):
        # Theirs are counted from the coarse end, ours from the fine one.
        part = "laterals" if level[2] == "proj" else "outputs"
        return (f"pixel_decoder.{part}.{top_lateral - int(level[1])}.{name[level.end() :]}",)
    if head := re.match(r"^mask_embedder\.(\d)\.0\.", name):
        return (f"mask_head.{2 * int(head[1])}.{name[head.end() :]}",)
    for pattern, ours in _PATTERNS:
        if pattern.match(name):
            name = pattern.sub(ours, name)
            break
    if name.startswith("mask_decoder.layers."):
        for theirs, own in _IN_DECODER_LAYER:
            name = name.replace(theirs, own)
    return (name,)


def _not_ours(folder: Path, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"reading {folder / 'config.json'}",
        found=found,
        expected="a MaskFormer with a ResNet or Swin backbone, one width throughout, and ReLU",
        fix="Choose a checkpoint like facebook/maskformer-resnet50-ade or facebook/maskformer-swin-base-ade.",
    )
