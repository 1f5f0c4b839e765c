"""Published SegFormer, DPT and UperNet checkpoints as segmenters of their own classes."""

from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.pixel_classifier import PixelClassifierSegmenter
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.pixel_classifier import load_pixel_classifier
from lexiseg.recipes.maskformer import evaluated_sizes, vocabulary_of

#: Sizes of the families' evaluation on ADE20K where the file has none.
_SHORT_SIDE, _MAX_LONG_SIDE = 512, 2048


def build_pixel_classifier(name_or_path: str) -> PixelClassifierSegmenter:
    """Load a SegFormer, DPT or UperNet checkpoint with its own classes, and the short side that it was evaluated at.

    Label ``k`` is the ``k``-th class of the file. Whether labels of the training set had one number more for "other", which
    the file says (``do_reduce_labels``), changes nothing: the network has no output for it.

    Args:
        name_or_path: A hub id or a local folder.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    folder = resolve_checkpoint(name_or_path)
    loaded = load_pixel_classifier(folder)
    short_side, max_long_side = evaluated_sizes(folder, short_side=_SHORT_SIDE, max_long_side=_MAX_LONG_SIDE)
    settings = InferenceSettings(
        short_side=short_side, max_long_side=max_long_side, background="name", refine="none"
    )
    vocabulary = vocabulary_of(loaded.class_names)
    return PixelClassifierSegmenter(loaded.network, vocabulary, settings=settings, name=name_or_path)
