"""Decide background again, from the best scores that a store keeps on the encoder's grid.

The label maps of a store are exact. What is decided here is nearly so: at most k classes a grid
point are known, in half precision, and the others are taken to score as the k-th. Where label
borders were refined to image edges, scores are those of the grid, not of the refined borders.
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt16

from lexiseg.core.errors import DatasetError
from lexiseg.core.label_runs import decode_runs
from lexiseg.ops.resize import resize_argmax, scores_at
from lexiseg.scoring.store_blocks import StoredImage, TopScores


def without_background(image: StoredImage, background: int) -> UInt16[np.ndarray, "H W"]:
    """Give pixels that were called background to the best other class.

    Raises:
        DatasetError: The store keeps no scores, or no class but background.
    """
    label_map = decode_runs(image.predicted, image.size)
    called = label_map == background
    if not called.any():
        return label_map
    labels, scores = _dense(_top_of(image), background)
    if not labels.size:
        raise _no_scores(image, "scores of background only")
    best = labels[resize_argmax(torch.from_numpy(scores[:-1]), image.size).labels]
    return np.where(called, best, label_map)


def best_scores(image: StoredImage, label_map: UInt16[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Give the score of the class that each pixel has, on the model's own scale.

    Raises:
        DatasetError: The store keeps no scores.
    """
    labels, scores = _dense(_top_of(image), None)
    place = np.full(65536, labels.size, np.uint16)  # of a class that is nowhere among the best: the floor
    place[labels] = np.arange(labels.size)
    return scores_at(torch.from_numpy(scores), place[label_map])


def with_threshold(
    image: StoredImage, background: int, threshold: float, *, paint: int
) -> UInt16[np.ndarray, "H W"]:
    """Decide background by a threshold, as the inference setting ``background="threshold"`` does.

    Args:
        image: Its stored prediction.
        background: Label of the background that competed, or any number that is no label.
        threshold: Pixels whose class scores less become background.
        paint: Label that they get.

    Raises:
        DatasetError: The store keeps no scores.
    """
    label_map = without_background(image, background)
    return np.where(best_scores(image, label_map) < np.float32(threshold), np.uint16(paint), label_map)


def _top_of(image: StoredImage) -> TopScores:
    if image.top is None:
        raise _no_scores(image, "no scores of this image")
    return image.top


def _no_scores(image: StoredImage, found: str) -> DatasetError:
    return DatasetError(
        doing=f"deciding background again for {image.stem!r}",
        found=found,
        expected="the best scores of every grid point",
        fix="Run lexiseg predict into a new store with --top 5.",
    )


def _dense(
    top: TopScores, left_out: int | None
) -> tuple[UInt16[np.ndarray, " U"], Float32[np.ndarray, "planes h w"]]:
    """Give the classes that are among the best anywhere, a plane of scores for each, and a floor plane."""
    floor = top.scores[-1].astype(np.float32)
    labels = np.unique(top.labels)
    if left_out is not None:
        labels = labels[labels != left_out]
    scores = np.broadcast_to(floor, (labels.size + 1, *floor.shape)).copy()
    place = np.full(65536, labels.size, np.int64)
    place[labels] = np.arange(labels.size)
    rows, columns = np.indices(floor.shape)
    for kept, values in zip(top.labels[::-1], top.scores[::-1], strict=True):
        scores[place[kept], rows, columns] = values
    scores[-1] = floor
    return labels, scores
