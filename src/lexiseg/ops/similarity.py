"""Cosine similarity of patch tokens and class embeddings."""

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def cosine(left: Float[Tensor, "*batch N D"], right: Float[Tensor, "K D"]) -> Float[Tensor, "*batch N K"]:
    """Compare every row of ``left`` with every row of ``right``; results lie in [-1, 1].

    Neither side needs unit length. A zero row is similar to nothing: 0.
    """
    return einsum(normalize(left, dim=-1), normalize(right, dim=-1), "... n d, k d -> ... n k")


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
