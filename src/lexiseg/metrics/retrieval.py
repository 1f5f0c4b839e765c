"""Scores of image-text models: recall@k of retrieval, and top-k accuracy of zero-shot classification."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from lexiseg.core.errors import InputError

RECALLS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """Recall@k in both directions, as fractions in [0, 1], keyed by k.

    Attributes:
        image_to_text: Images for which one of their captions is among the k most similar captions.
        text_to_image: Captions whose image is among the k most similar images.
    """

    image_to_text: dict[int, float]
    text_to_image: dict[int, float]


def retrieval_recall(
    similarity: Float[np.ndarray, "I T"], image_of_text: Int64[np.ndarray, " T"], ks: Sequence[int] = RECALLS
) -> RetrievalScores:
    """Compute recall@k; several captions an image are allowed.

    Of equal similarities, the wrong ones are ranked first: a model that gives one number to everything
    gets no recall as a gift.

    Args:
        similarity: Similarity of every image (row) with every caption (column).
        image_of_text: Row of each caption's image.
        ks: Wanted k.

    Raises:
        InputError: There is no image or caption, or an image has no caption.
    """
    num_images, num_texts = similarity.shape
    if num_texts == 0 or set(image_of_text.tolist()) != set(range(num_images)):
        raise InputError(
            doing="computing retrieval recall",
            found=f"{num_images} images, {len(set(image_of_text.tolist()))} of them with captions",
            expected="at least one caption for every image, and no other",
            fix="Leave out images without captions.",
        )
    own = similarity[image_of_text, np.arange(num_texts)]
    is_own = image_of_text[None, :] == np.arange(num_images)[:, None]
    others = (similarity >= own[None, :]) & ~is_own
    rank_of_image = others.sum(0)  # other images at least as similar to the caption
    best_own = np.where(is_own, similarity, -np.inf).max(1)
    rank_of_text = ((similarity >= best_own[:, None]) & ~is_own).sum(1)
    return RetrievalScores(
        image_to_text={k: float((rank_of_text < k).mean()) for k in ks},
        text_to_image={k: float((rank_of_image < k).mean()) for k in ks},
    )


def top_k_accuracy(
    scores: Float[np.ndarray, "I K"], labels: Int64[np.ndarray, " I"], ks: Sequence[int] = (1, 5)
) -> dict[int, float]:
    """Compute zero-shot top-k accuracy; of equal scores the wrong ones are ranked first.

    Args:
        scores: Score of every class for every image.
        labels: True class of each image.
        ks: Wanted k.

    Raises:
        InputError: There is no image, or a label is no class.
    """
    if not labels.size or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(
            doing="computing top-k accuracy",
            found=f"{labels.size} labels"
            + (f" from {labels.min()} to {labels.max()}" if labels.size else ""),
            expected=f"one label or more, from 0 to {scores.shape[1] - 1}",
            fix="Check that labels index the classes that were scored.",
        )
    own = scores[np.arange(labels.size), labels]
    rank = (scores >= own[:, None]).sum(1) - 1
    return {k: float((rank < k).mean()) for k in ks}
