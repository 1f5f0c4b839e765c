"""Similarity of patch tokens and class embeddings."""

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def similarity_map(
    tokens: Float[Tensor, "B N D"], embeddings: Float[Tensor, "K D"], grid: tuple[int, int]
) -> Float[Tensor, "B K h w"]:
    """Lay out the dot products of patch tokens and class embeddings as one map a class.

    With unit rows on both sides, as most callers have them, this is the cosine. Nothing is
    normalised here because callers ask again and again with other parts of a vocabulary.

    Args:
        tokens: In raster order.
        embeddings: One row a class, in the tokens' space.
        grid: ``(h, w)`` with ``h * w == N``.
    """
    dots = einsum(embeddings, tokens, "k d, b n d -> b k n")
    return rearrange(dots, "b k (h w) -> b k h w", h=grid[0], w=grid[1])
