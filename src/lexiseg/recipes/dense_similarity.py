"""Dense similarity on any CLIP, SigLIP or SigLIP 2 checkpoint."""

from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.dense_similarity import DenseSimilarity
from lexiseg.models.checkpoint import read_config
from lexiseg.models.clip import load_clip
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.siglip import load_siglip

#: About how many patches the short side gets: 28, as with CLIP ViT-B/16 at 448 pixels.
SHORT_SIDE_PATCHES = 28


def build_dense_similarity(name_or_path: str) -> Segmenter:
    """Load a checkpoint and choose the inference defaults that fit it.

    The short side gets 28 patches, or the model's own grid where that is finer. CLIP reads the 80
    templates it was evaluated with; SigLIP and SigLIP 2 a single one, as each costs a pass over all
    64 token positions.

    Args:
        name_or_path: A hub id or a local folder.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    folder = resolve_checkpoint(name_or_path)
    if read_config(folder, ("clip", "siglip", "siglip2"))["model_type"] == "clip":
        clip_image, clip_text = load_clip(folder)
        settings = _settings(clip_image.stride, clip_image.native_grid, prompts="imagenet80")
        side = clip_image.native_grid[0] * clip_image.stride
        return DenseSimilarity(clip_image, clip_text, name=name_or_path, settings=settings, image_side=side)
    image, text = load_siglip(folder)
    settings = _settings(image.stride, image.native_grid, prompts="single")
    side = image.native_grid[0] * image.stride
    return DenseSimilarity(image, text, name=name_or_path, settings=settings, image_side=side)


def _settings(stride: int, native_grid: tuple[int, int], *, prompts: str) -> InferenceSettings:
    short_side = max(SHORT_SIDE_PATCHES, *native_grid) * stride
    return InferenceSettings(short_side=short_side, prompts=prompts, refine="guided")
