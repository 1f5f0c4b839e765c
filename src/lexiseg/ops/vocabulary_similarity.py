"""How well one vocabulary covers another, by text embeddings (Hausdorff distance in similarity form).

RIM (CVPR 2024, supplement, table 2, after SAN) gives one number for each pair of an evaluated vocabulary
and the one that methods were trained on, without its formula. ``directed`` fits what is printed there;
the other forms stand beside it so that this can be checked.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.ops.similarity import cosine


@dataclass(frozen=True, kw_only=True, eq=False)
class VocabularySimilarity:
    """Similarity of an evaluated vocabulary to a training vocabulary; cosines, at most 1.

    Attributes:
        directed: That of the evaluated class with the least similar nearest training class.
        reverse: The same from the training classes to the evaluated ones.
        symmetric: The smaller of both.
        mean: Average over the evaluated classes of their nearest training class.
        nearest: Training class nearest to each evaluated class.
        nearest_similarity: How similar it is.
    """

    directed: float
    reverse: float
    symmetric: float
    mean: float
    nearest: Int64[Tensor, " V"]
    nearest_similarity: Float[Tensor, " V"]


def vocabulary_similarity(
    evaluated: Float[Tensor, "V D"], training: Float[Tensor, "T D"]
) -> VocabularySimilarity:
    """Compare two vocabularies by the cosines of their class embeddings, which need not be unit.

    Raises:
        InputError: One of them is empty.
    """
    if not len(evaluated) or not len(training):
        raise InputError(
            doing="comparing two vocabularies",
            found=f"{len(evaluated)} evaluated and {len(training)} training classes",
            expected="one class or more in each",
            fix="Name the classes of both.",
        )
    return summarise_similarities(cosine(evaluated, training))


def summarise_similarities(similarities: Float[Tensor, "V T"]) -> VocabularySimilarity:
    """Reduce similarities of evaluated (rows) and training classes to the four numbers."""
    nearest_similarity, nearest = similarities.max(dim=1)
    directed, reverse = float(nearest_similarity.min()), float(similarities.amax(dim=0).min())
    return VocabularySimilarity(
        directed=directed,
        reverse=reverse,
        symmetric=min(directed, reverse),
        mean=float(nearest_similarity.mean()),
        nearest=nearest,
        nearest_similarity=nearest_similarity,
    )
