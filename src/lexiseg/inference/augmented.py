"""Test-time augmentation: an image seen at several sizes, and mirrored; its class scores added up.

As MaskFormer's semantic test-time augmentation does (Cheng et al., NeurIPS 2021), which SimFormer (Chen et al., NeurIPS
2022) makes pseudo masks with. Scores are added at the image's own size, some rows at a time.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8, UInt16

from lexiseg.core.vocabulary import Words
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.predict import pixel_scores
from lexiseg.inference.segmenter import Segmenter

#: Numbers of all classes that are added up at a time.
_BAND_NUMEL = 1 << 23


@torch.inference_mode()
def augmented_labels(
    segmenter: Segmenter,
    image: UInt8[np.ndarray, "H W 3"],
    words: Words,
    *,
    short_sides: Sequence[int],
    mirrored: bool,
    **changes: Any,
) -> UInt16[np.ndarray, "H W"]:
    """Label every pixel by the sum of the class scores of several views of an image.

    One view and no mirroring is what ``segment`` does without refinement and tiles, but for rounding.

    Args:
        segmenter: One whose classes do not depend on each other and whose labels come from upsampled scores.
        image: RGB, 0..255.
        words: Classes to choose from.
        short_sides: Short sides of the views in pixels; ``max_long_side`` still holds.
        mirrored: See every view mirrored too.
        changes: Further fields of ``InferenceSettings`` to change.
    """
    assert short_sides, "no view to look at"
    views: list[tuple[EncodedImage, bool]] = []
    changes = {**changes, "tiles": "off"}  # the sizes are stated
    for side in short_sides:
        views.append((segmenter.encode(image, short_side=side, **changes), False))
        if mirrored:
            views.append((segmenter.encode(image[:, ::-1].copy(), short_side=side, **changes), True))
    settings = views[0][0].settings
    class_names = segmenter.name_classes(words, settings)
    height, width = image.shape[:2]
    step = max(1, _BAND_NUMEL // (len(class_names.counts) * width))
    labels = np.empty((height, width), np.uint16)
    of_rows = partial(
        pixel_scores,
        score=segmenter.class_scores,
        embeddings=class_names.embeddings,
        names_per_class=class_names.counts,
        settings=settings,
        upsample=segmenter.upsample,
    )
    for top in range(0, height, step):
        rows = top, min(top + step, height)
        total = None
        for encoded, is_mirrored in views:
            scores = of_rows(encoded, rows)
            scores = scores.flip(2) if is_mirrored else scores
            total = scores if total is None else total + scores
        assert total is not None
        labels[slice(*rows)] = total.argmax(dim=0).cpu().numpy().astype(np.uint16)
    return np.asarray(class_names.labels, np.uint16)[labels]
