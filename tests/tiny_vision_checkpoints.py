"""Tiny random checkpoints of networks that see pictures but read no words, in the layout of the hub."""

from pathlib import Path

from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, TRANSFORMER, randomised, write_json


def save_tiny_dinov2(folder: Path, *, registers: bool = False, swiglu: bool = False) -> Path:
    """Save a DINOv2 of 3 layers, patch 7, native 28×28, with 2 registers or none."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    settings = {
        "hidden_size": 32,
        "mlp_ratio": 2,
        "num_hidden_layers": TRANSFORMER["num_hidden_layers"],
        "num_attention_heads": TRANSFORMER["num_attention_heads"],
        "image_size": 28,
        "patch_size": 7,
        "use_swiglu_ffn": swiglu,
    }
    model = (
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**settings, num_register_tokens=2))
        if registers
        else Dinov2Model(Dinov2Config(**settings))
    )
    randomised(model).save_pretrained(folder)
    write_preprocessor(folder)
    return folder


def write_preprocessor(folder: Path, **more: object) -> None:
    """Write the pixel statistics as the hub's folders have them."""
    write_json(
        folder / "preprocessor_config.json", {"image_mean": IMAGE_MEAN, "image_std": IMAGE_STD, **more}
    )
