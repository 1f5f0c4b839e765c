"""What an encoded image says as a whole: which sizes of a tiled one decide, and the scores of all classes."""

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
    """Leave out the sizes of a tiled image at which the words are found much worse; see ``inference.tiles``.

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
    ends = np.cumsum(encoded.view_counts).tolist()
    parts = [slice(end - count, end) for end, count in zip(ends, encoded.view_counts, strict=True)]
    found = [float(np.mean(best[part])) for part in parts]
    decide = [
        not any(_is_much_higher(finer, each) for finer in found[at + 1 :]) for at, each in enumerate(found)
    ]
    chosen = [part for part, does in zip(parts, decide, strict=True) if does]
    facts = [
        {**size, "mean_best_score": score, "decides": does}
        for size, score, does in zip(encoded.tiling["sizes"], found, decide, strict=True)
    ]
    views = "whole and windows" if decide[0] else "windows"
    return replace(
        encoded,
        windows=tuple(window for part in chosen for window in encoded.windows[part]),
        features=tuple(features for part in chosen for features in encoded.features[part]),
        weights=tuple(weights for part in chosen for weights in encoded.weights[part]),
        tiling={**encoded.tiling, "views": views, "sizes": facts},
        view_counts=tuple(part.stop - part.start for part in chosen),
    )


def _is_much_higher(score: float, than: float) -> bool:
    return than < 0.0 < score or score > MUCH_HIGHER * max(than, 0.0) > 0.0


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
