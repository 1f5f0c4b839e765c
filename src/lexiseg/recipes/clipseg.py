"""CLIPSeg, with the square that it reads."""

from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.clipseg import ClipSegSegmenter
from lexiseg.models.clip import ClipTextEncoder
from lexiseg.models.clipseg import INPUT_SIDE, load_clipseg
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.recipes.maskformer import evaluated_sizes


def build_clipseg(name_or_path: str) -> ClipSegSegmenter:
    """Load a CLIPSeg checkpoint.

    Args:
        name_or_path: A hub id or a local folder.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    folder = resolve_checkpoint(name_or_path)
    loaded = load_clipseg(folder)
    side, _ = evaluated_sizes(folder, short_side=INPUT_SIDE, max_long_side=INPUT_SIDE)
    side = max(1, round(side / loaded.model.patch)) * loaded.model.patch
    settings = InferenceSettings(
        short_side=side, max_long_side=side, keep_aspect=False, threshold=0.0, refine="none"
    )
    text = ClipTextEncoder(loaded.text, loaded.projection, loaded.tokenizer)
    return ClipSegSegmenter(loaded.model, text, side=side, settings=settings, name=name_or_path)
