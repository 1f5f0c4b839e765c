"""How well a training vocabulary covers an evaluation vocabulary: Hausdorff forms over name embeddings.

SAN and RIM compare label sets by "Hausdorff distance with cosine similarity" between text embeddings
without saying which form; the printed values (VOC against COCO-Stuff 0.91) fit the directed one. All
are given, each under its name.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LabelSetSimilarity:
    """Cosine similarities in [-1, 1]; 1 where every name recurs.

    Attributes:
        directed: The worst-covered evaluation name: minimum over it of its best training name.
        reverse: ``directed`` with the sets exchanged.
        symmetric: The smaller of these two (the Hausdorff distance, as a similarity).
        mean: Mean over evaluation names of their best training name.
        reverse_mean: ``mean`` with the sets exchanged.
        worst: Index of the worst-covered evaluation name.
        nearest: Index of the training name nearest to that one.
    """

    directed: float
    reverse: float
    symmetric: float
    mean: float
    reverse_mean: float
    worst: int
    nearest: int


def label_set_similarity(
    evaluation: Float[np.ndarray, "V D"], training: Float[np.ndarray, "T D"]
) -> LabelSetSimilarity:
    """Compare two sets of names by their embeddings, one row a name, of any length.

    Raises:
        InputError: A set is empty, or an embedding is zero or not finite.
    """
    for name, rows in (("evaluation", evaluation), ("training", training)):
        lengths = np.linalg.norm(rows, axis=1)
        if not rows.shape[0] or not np.isfinite(lengths).all() or not lengths.all():
            raise InputError(
                doing="comparing label sets",
                found=f"{rows.shape[0]} {name} names, {int((~(lengths > 0)).sum())} of them without direction",
                expected="one name or more, each with a finite embedding that is not zero",
                fix="Check the names; an empty one has no embedding.",
            )
    return compare_similarities(_unit(evaluation) @ _unit(training).T)


def compare_similarities(similarity: Float[np.ndarray, "V T"]) -> LabelSetSimilarity:
    """Compute all forms from the cosines of every evaluation name (row) with every training name."""
    best = similarity.max(1)
    directed, reverse = float(best.min()), float(similarity.max(0).min())
    worst = int(best.argmin())
    return LabelSetSimilarity(
        directed=directed,
        reverse=reverse,
        symmetric=min(directed, reverse),
        mean=float(best.mean()),
        reverse_mean=float(similarity.max(0).mean()),
        worst=worst,
        nearest=int(similarity[worst].argmax()),
    )


def _unit(rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
