"""Dense similarity on any CLIP, SigLIP or SigLIP 2 checkpoint, with a choice of heads."""

from dataclasses import dataclass
from typing import Literal

from lexiseg.core.errors import InputError
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.models import siglip
from lexiseg.models.checkpoint import read_config
from lexiseg.models.clip import ClipImageEncoder, load_clip
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.siglip import load_siglip

#: About how many patches the short side gets without windows: 28, as with CLIP ViT-B/16 at 448 pixels.
SHORT_SIDE_PATCHES = 28

#: Patches in the square that ``scclip`` was set for: 224 pixels of ViT-B/16.
_SELF_CALIBRATED_PATCHES = 14 * 14


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """How patches get into the space of the texts.

    Attributes:
        head: What patches take from the network's last attention. value: their own value, no residual, no MLP.
            maskclip: the same with both. sclip, clearclip, kk, naclip: values of patches with like queries and keys,
            queries, keys, or keys and places. scclip: outlier tokens repaired, similarity of middle blocks. auto: for
            CLIP scclip, or naclip where an image of training has less than 14×14 patches; for SigLIP value. Beside
            value and auto, SigLIP has kk and naclip. Which is best is published, not measured here.
    """

    head: Literal["auto", "value", "maskclip", "sclip", "clearclip", "kk", "naclip", "scclip"] = "auto"


#: The head of earlier versions, and the only one that trained models learnt from.
VALUE_HEAD = DenseSettings(head="value")


def build_dense_similarity(name_or_path: str, method: DenseSettings | None = None) -> Segmenter:
    """Load a checkpoint and choose the inference defaults that fit it.

    With the heads ``value`` and ``maskclip`` the short side gets 28 patches, or the model's own grid where that is finer,
    and the image is seen whole. The others were published with windows as large as the images of training, half of which
    overlap, on a short side of one and a half windows. CLIP reads the 80 templates it was evaluated with; SigLIP and
    SigLIP 2 a single one, as each costs a pass over all 64 token positions.

    Args:
        name_or_path: A hub id or a local folder.
        method: The head; None for the defaults.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
        InputError: The head is not defined for this family.
    """
    method = method or DenseSettings()
    folder = resolve_checkpoint(name_or_path)
    if read_config(folder, ("clip", "siglip", "siglip2"))["model_type"] == "clip":
        clip_image, clip_text = load_clip(folder)
        head = clip_image.head = _clip_head(method, clip_image)
        settings = _settings(clip_image.stride, clip_image.native_grid, prompts="imagenet80", head=head)
        side = clip_image.native_grid[0] * clip_image.stride
        return DenseSimilarity(
            clip_image, clip_text, name=name_or_path, settings=settings, image_side=side, head=head
        )
    head = "value" if method.head == "auto" else method.head
    if head not in siglip.HEADS:
        raise InputError(
            doing=f"choosing the head of {name_or_path}",
            found=f"{head}, which needs queries of patches or a class token, and SigLIP's pooling head has neither",
            expected=f"one of: {', '.join(siglip.HEADS)}",
            fix="Choose one of these, or a CLIP checkpoint.",
        )
    image, text = load_siglip(folder, head=head)
    settings = _settings(image.stride, image.native_grid, prompts="single", head=head)
    side = image.native_grid[0] * image.stride
    return DenseSimilarity(image, text, name=name_or_path, settings=settings, image_side=side, head=head)


def _clip_head(method: DenseSettings, encoder: ClipImageEncoder) -> str:
    if method.head != "auto":
        return method.head
    height, width = encoder.native_grid
    return "scclip" if height * width >= _SELF_CALIBRATED_PATCHES else "naclip"


def _settings(stride: int, native_grid: tuple[int, int], *, prompts: str, head: str) -> InferenceSettings:
    if head in ("value", "maskclip"):
        short_side = max(SHORT_SIDE_PATCHES, *native_grid) * stride
        return InferenceSettings(short_side=short_side, prompts=prompts, refine="guided")
    window = max(native_grid) * stride
    half = max(1, max(native_grid) // 2) * stride
    return InferenceSettings(
        short_side=window + half, window=window, window_stride=half, prompts=prompts, refine="guided"
    )
