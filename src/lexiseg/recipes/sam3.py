"""SAM 3, with the square that it reads and the background that was published for it."""

from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.sam3 import Sam3Segmenter, Sam3Settings
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.sam3 import load_sam3

#: Megabytes for the masks of some names at once: about seven at 67 MB each.
_MEMORY_MB = 512


def build_sam3(name_or_path: str, method: Sam3Settings | None = None) -> Segmenter:
    """Load a SAM 3 checkpoint.

    Args:
        name_or_path: A hub id or a local folder.
        method: How answers are fused; None for the defaults.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched: they are gated.
        CheckpointError: They are here and cannot be used.
    """
    model = load_sam3(resolve_checkpoint(name_or_path))
    settings = InferenceSettings(
        short_side=model.input_side,
        max_long_side=model.input_side,
        keep_aspect=False,
        tiles="off",
        prompts="bare",
        threshold=0.4,
        refine="none",
        memory_mb=_MEMORY_MB,
    )
    return Sam3Segmenter(model, settings=settings, method=method or Sam3Settings(), name=name_or_path)
