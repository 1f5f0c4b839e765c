"""Re-training: pseudo masks of a trained model become the masks of a fully supervised one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lexiseg.data.weak_shot.pseudo_masks import pseudo_map, pseudo_mask_path, write_pseudo_mask
from lexiseg.data.weak_shot.view import WeakShotView
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.simformer.settings import SimFormerSettings


def write_pseudo_masks(
    segmenter: Segmenter,
    view: WeakShotView,
    folder: Path,
    *,
    advance: Callable[[], None] = lambda: None,
) -> int:
    """Segment every image with all classes and keep what its tags allow; masks win.

    Files that are there already are kept, so that an interrupted run goes on.

    Args:
        segmenter: Trained with the view's classes.
        view: The training data.
        folder: Gets one label map an image, 16 bits.
        advance: Called after each image.

    Returns:
        How many were written.

    Raises:
        OutputError: The folder cannot be written.
    """
    written = 0
    for index, stem in enumerate(view.stems):
        if not pseudo_mask_path(folder, stem).is_file():
            sample = view[index]
            prediction = segmenter.segment(sample.image, view.vocabulary, refine="none").label_map
            known = pseudo_map(prediction, sample.tags or frozenset(), sample.label_map)
            write_pseudo_mask(folder, stem, known)
            written += 1
        advance()
    return written


def fully_supervised(method: SimFormerSettings) -> SimFormerSettings:
    """Give the settings of a plain MaskFormer: no pairs, nothing for tags without masks."""
    return replace(method, pairs="none", complementary=0.0)
