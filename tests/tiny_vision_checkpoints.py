"""Tiny random checkpoints of networks that see pictures but read no words, in the layout of the hub."""

from pathlib import Path

from tiny_checkpoints import (
    IMAGE_MEAN,
    IMAGE_STD,
    TRANSFORMER,
    byte_pairs,
    change_json,
    randomised,
    write_json,
)


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


def save_tiny_sam(folder: Path) -> Path:
    """Save a ``SamModel`` of 2 layers that reads 64×64 and answers at 16×16."""
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "window_size": 2,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
            "mlp_dim": 24,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": 64,
            "patch_size": 16,
            "mask_input_channels": 8,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 24,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    randomised(SamModel(config)).save_pretrained(folder)
    write_preprocessor(folder, size={"longest_edge": 64})
    return folder


def save_tiny_sam2(folder: Path, *, video: bool = False) -> Path:
    """Save a ``Sam2Model`` that reads 64×64 and answers at 16×16, or the same inside a video checkpoint."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import Sam2Config, Sam2Model

    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [4, 4, 4, 2],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [2, 2],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": 64,
            "patch_size": 16,
            "mask_input_channels": 8,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 24,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    randomised(Sam2Model(config)).save_pretrained(folder)
    write_preprocessor(folder)
    if video:
        change_json(folder / "config.json", model_type="sam2_video", num_maskmem=7)
        file = folder / "model.safetensors"
        more = {"memory_encoder.projection.weight": torch.zeros(3), "no_object_pointer": torch.zeros(1, 16)}
        save_file({**load_file(file), **more}, file)
    return folder


def save_tiny_stable_diffusion(folder: Path) -> Path:
    """Save a Stable Diffusion that draws 32×32 from a latent of 16×16, in the layout of diffusers."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer(**byte_pairs())
    text = CLIPTextModel(
        CLIPTextConfig(
            **{**TRANSFORMER, "hidden_size": 16},
            vocab_size=len(tokenizer),
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    denoiser = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=(2, 4),
        norm_num_groups=4,
    )
    decoder = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    with torch.no_grad():
        randomised(text).save_pretrained(folder / "text_encoder")
        randomised(denoiser).save_pretrained(folder / "unet")
        randomised(decoder).save_pretrained(folder / "vae")
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    return folder
