"""Tiny random MaskFormers and the classifiers below them, in the layout of the hub."""

from pathlib import Path

import torch
from torch import nn

from tiny_checkpoints import randomised
from tiny_vision_checkpoints import write_preprocessor

BACKBONES = {
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [16, 24, 32, 40],
        "depths": [1, 2, 1, 1],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "swin": {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 2, 1, 1],
        "num_heads": [2, 2, 2, 2],
        "window_size": 4,
        "image_size": 64,
        "drop_path_rate": 0.1,
    },
}
NAMES = ["wall", "building, edifice", "sky", "floor, flooring", "tree"]


def save_tiny_maskformer(folder: Path, backbone: str) -> Path:
    """Save a ``MaskFormerForInstanceSegmentation`` of 3 decoder layers, 32 wide, 6 queries, 5 classes."""
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation

    config = MaskFormerConfig(
        backbone_config=dict(BACKBONES[backbone]),
        decoder_config={
            "model_type": "detr",
            "d_model": 32,
            "num_queries": 6,
            "decoder_layers": 3,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 48,
            "encoder_layers": 0,
        },
        fpn_feature_size=32,
        mask_feature_size=32,
        id2label=dict(enumerate(NAMES)),
    )
    _with_statistics(randomised(MaskFormerForInstanceSegmentation(config))).save_pretrained(folder)
    write_preprocessor(folder)
    return folder


def save_tiny_classifier(folder: Path, backbone: str) -> Path:
    """Save an image classifier as the backbone's own authors publish it."""
    from transformers import (
        ResNetConfig,
        ResNetForImageClassification,
        SwinConfig,
        SwinForImageClassification,
    )

    settings = {name: value for name, value in BACKBONES[backbone].items() if name != "model_type"}
    model = (
        ResNetForImageClassification(ResNetConfig(**settings))
        if backbone == "resnet"
        else SwinForImageClassification(SwinConfig(**settings))
    )
    _with_statistics(randomised(model)).save_pretrained(folder)
    write_preprocessor(folder)
    return folder


def _with_statistics(model: nn.Module) -> nn.Module:
    """Give batch normalisations statistics that are not those of noise, or mistakes in them would not show."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return model
