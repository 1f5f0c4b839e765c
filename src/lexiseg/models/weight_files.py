"""Which files of a published folder hold the weights, and what else the folder may be.

The same rules serve a folder on disk and the list of files that the hub gives.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lexiseg.core.json_text import read_json_file

#: Half-precision copies that publishers put beside, or in place of, the full file.
VARIANTS = ("fp16", "bf16")
#: Names before the suffix: transformers' and diffusers'.
STEMS = ("model", "diffusion_pytorch_model")
#: What OpenCLIP puts into a repository; its tensors have other names and other shapes.
OPENCLIP_FILES = re.compile(r"open_clip_(config\.json|pytorch_model\.bin|model\.safetensors)")
#: CLIPs that were trained with OpenCLIP or can stand in for them, in transformers' layout.
TRANSFORMERS_CLIPS = ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "openai/clip-vit-large-patch14")

_PICKLE = re.compile(r"(pytorch_model|diffusion_pytorch_model)((\.|-).*)?\.bin|.*\.(pt|pth|ckpt)")
_TYPES = {
    "clip": "images and words (CLIP)",
    "siglip": "images and words (SigLIP)",
    "siglip2": "images and words (SigLIP 2)",
    "clip_text_model": "words alone, the text encoder of Stable Diffusion",
    "clip_vision_model": "images alone, CLIP without its text encoder",
    "siglip_vision_model": "images alone, SigLIP without its text encoder",
    "bert": "words alone (BERT)",
    "dinov2": "images alone (DINOv2)",
    "dinov2_with_registers": "images alone (DINOv2)",
    "vit": "images alone (ViT)",
    "sam": "masks under points (SAM)",
    "sam2": "masks under points (SAM 2)",
    "sam2_video": "masks under points (SAM 2)",
    "sam3": "masks from words (SAM 3)",
    "sam3_video": "masks from words (SAM 3)",
    "groupvit": "images and words (GroupViT)",
    "maskformer": "masks of fixed classes (MaskFormer)",
    "mask2former": "masks of fixed classes (Mask2Former)",
    "oneformer": "masks of fixed classes (OneFormer)",
    "segformer": "a class for every pixel (SegFormer)",
    "dpt": "a class or a depth for every pixel (DPT)",
    "upernet": "a class for every pixel (UperNet)",
    "clipseg": "masks from words (CLIPSeg)",
    "resnet": "feature maps (ResNet)",
    "swin": "feature maps (Swin)",
}
_EXAMPLES = {
    "bert": "google-bert/bert-base-uncased",
    "clip": "openai/clip-vit-large-patch14",
    "siglip": "google/siglip2-base-patch16-224",
    "clip_text_model": "the folder text_encoder of stable-diffusion-v1-5/stable-diffusion-v1-5",
    "dinov2": "facebook/dinov2-base",
    "vit": "facebook/dino-vitb16",
    "sam": "facebook/sam-vit-base",
    "sam2": "facebook/sam2.1-hiera-tiny",
    "groupvit": "nvidia/groupvit-gcc-yfcc",
    "mask2former": "facebook/mask2former-swin-small-ade-semantic",
    "maskformer": "facebook/maskformer-swin-base-ade",
    "oneformer": "shi-labs/oneformer_ade20k_swin_tiny",
    "segformer": "nvidia/segformer-b0-finetuned-ade-512-512",
    "dpt": "Intel/dpt-large-ade",
    "upernet": "openmmlab/upernet-convnext-tiny",
    "clipseg": "CIDAS/clipseg-rd64-refined",
    "resnet": "microsoft/resnet-50",
    "swin": "microsoft/swin-tiny-patch4-window7-224",
}


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """The files of one network.

    Attributes:
        index: Says which tensor is in which shard; None for a single file.
        single: The one file; None where there is an index.
        variant: ``fp16`` or ``bf16`` where only such a copy is there, else None.
    """

    index: str | None
    single: str | None
    variant: str | None


def choose_weight_files(names: Collection[str], stem: str = "model") -> WeightFiles | None:
    """Return the safetensors of a network among the names in its folder, full precision first.

    Args:
        names: Files of one folder, without their folder.
        stem: The name before ``.safetensors``.

    Returns:
        None where there are no safetensors of that stem.
    """
    for variant in (None, *VARIANTS):
        dotted = f".{variant}" if variant else ""
        # diffusers puts the variant last, transformers before the suffix.
        indices = [f"{stem}.safetensors.index{dotted}.json", f"{stem}{dotted}.safetensors.index.json"]
        for index in indices:
            if index in names:
                return WeightFiles(index=index, single=None, variant=variant)
        if f"{stem}{dotted}.safetensors" in names:
            return WeightFiles(index=None, single=f"{stem}{dotted}.safetensors", variant=variant)
    return None


def wanted_weights(names: Collection[str], stem: str = "model") -> list[str]:
    """Return the weight files to download, those of ``choose_weight_files``, shards included."""
    chosen = choose_weight_files(names, stem)
    if chosen is None:
        return []
    if chosen.single is not None:
        return [chosen.single]
    assert chosen.index is not None
    dotted = rf"\.{chosen.variant}" if chosen.variant else ""
    shard = re.compile(rf"{stem}({dotted})?-\d+-of-\d+({dotted})?\.safetensors")
    kept = [
        name
        for name in sorted(names)
        if (match := shard.fullmatch(name)) and (not dotted or any(match.groups()))
    ]
    return [chosen.index, *kept]


def pickled_weights(names: Collection[str]) -> list[str]:
    """Return the pickles among the files of a folder that hold weights in transformers' or diffusers' names.

    OpenCLIP's are not among them: converting those would not make them readable.
    """
    return sorted(name for name in names if _PICKLE.fullmatch(name) and not OPENCLIP_FILES.fullmatch(name))


def describe_type(model_type: object) -> str:
    """Return a ``model_type`` and, where we know it, what such a checkpoint gives."""
    known = _TYPES.get(model_type) if isinstance(model_type, str) else None
    return f"model_type {model_type!r}" + (f", which gives {known}" if known else "")


def example_of(model_types: Collection[str]) -> str:
    """Return names of checkpoints of these types, for the last sentence of a message."""
    return " or ".join(_EXAMPLES[kind] for kind in sorted(model_types) if kind in _EXAMPLES)


def describe_folder(folder: Path) -> str | None:
    """Return what a folder without a usable ``config.json`` is, where it is a kind that we know."""
    names = {path.name for path in folder.iterdir()}
    if theirs := sorted(name for name in names if OPENCLIP_FILES.fullmatch(name)):
        return f"OpenCLIP's layout ({', '.join(theirs)})"
    if "model_index.json" in names:
        kind = _field(folder / "model_index.json", "_class_name")
        return f"a pipeline of diffusers ({kind}), whose networks are in folders of their own"
    if "adapter_config.json" in names:
        return "an adapter (adapter_config.json), which is not a model on its own"
    if "config.json" in names:
        if kind := _field(folder / "config.json", "model_type"):
            return f"a checkpoint with {describe_type(kind)}"
        if kind := _field(folder / "config.json", "architecture"):
            return f"timm's layout ({kind})"
    return None


def _field(file: Path, name: str) -> str | None:
    try:
        content = read_json_file(file)
    except (OSError, ValueError):
        return None
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else None
