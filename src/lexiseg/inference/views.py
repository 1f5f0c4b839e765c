"""What an encoded image says as a whole: which views of a tiled one decide, and the scores of all classes."""

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.predict import Score, grid_scores, names_per_chunk
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.tiles import MUCH_HIGHER

if TYPE_CHECKING:
    from lexiseg.inference.segmenter import Segmenter


@torch.inference_mode()
def choose_views(
    encoded: EncodedImage,
    score: Score,
    embeddings: Float[Tensor, "S D"],
    *,
    settings: InferenceSettings,
    independent_classes: bool = True,
) -> EncodedImage:
    """Leave the whole view of a tiled image out where windows find the words much better; see ``inference.tiles``.

    Args:
        encoded: The image's features; returned as they are where it is not tiled.
        score: The method's ``class_scores``.
        embeddings: One row a name of the whole vocabulary.
        settings: Memory.
        independent_classes: Scores may be computed for a part of the names at a time.
    """
    if encoded.tiling is None:
        return encoded
    step = names_per_chunk(encoded, settings) if independent_classes else len(embeddings)
    best = []
    for features in encoded.features:
        chunks = (
            score(features, embeddings[at : at + step])[0].amax(0) for at in range(0, len(embeddings), step)
        )
        best.append(float(reduce(torch.maximum, chunks).float().mean()))
    whole, windows = (float(np.mean(part)) for part in (best[: encoded.num_whole], best[encoded.num_whole :]))
    windows_alone = whole < 0.0 < windows or windows > MUCH_HIGHER * max(whole, 0.0) > 0.0
    facts = {**encoded.tiling, "mean_best_score": {"whole": whole, "windows": windows}}
    if not windows_alone:
        return replace(encoded, tiling={**facts, "views": "whole and windows"})
    return replace(
        encoded,
        windows=encoded.windows[encoded.num_whole :],
        features=encoded.features[encoded.num_whole :],
        weights=encoded.weights[encoded.num_whole :],
        tiling={**facts, "views": "windows"},
        num_whole=0,
    )


def scores_of_all(
    model: "Segmenter", encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings
) -> Float32[np.ndarray, "K h w"]:
    """Score every class of the vocabulary on the encoder's grid; a background by a threshold scores the threshold."""
    scores = grid_scores(
        encoded,
        model.class_scores,
        class_names.embeddings,
        class_names.counts,
        settings=settings,
        independent_classes=model.independent_classes,
    )
    shape = (len(class_names.vocabulary), *scores.shape[1:])
    found = np.full(shape, np.nan if settings.threshold is None else settings.threshold, np.float32)
    found[list(class_names.labels)] = scores.float().cpu().numpy()
    return found
