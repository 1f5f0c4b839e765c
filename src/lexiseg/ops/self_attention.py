"""Attention of tokens to tokens that are like them: the rules that dense heads mix values by.

Each takes queries, keys and values by head, ``B A T d``, and returns as many mixed values, before any output projection.
Where the values have a class token, it is row 0. Written from the papers' formulas: ``sclip`` after Wang et al., "SCLIP",
ECCV 2024; ``clearclip`` after Lan et al., "ClearCLIP", ECCV 2024; ``naclip`` after Hajimiri et al., "Pay Attention to
Your Neighbours", WACV 2025.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

#: Grid units: how far the neighbourhood of ``naclip`` reaches, the paper's value.
NEIGHBOURHOOD_SIGMA = 5.0

Heads = Float[Tensor, "B A T d"]


def query_and_key_attention(query: Heads, key: Heads, value: Heads, *, scale: float, **_: Any) -> Heads:
    """Attend by q·q and by k·k and add the two: weights of a token sum to 2 (``sclip``)."""
    return _attend(query, value, scale) + _attend(key, value, scale)


def query_attention(query: Heads, key: Heads, value: Heads, *, scale: float, **_: Any) -> Heads:
    """Attend by q·q (``clearclip``)."""
    return _attend(query, value, scale)


def key_attention(query: Heads, key: Heads, value: Heads, *, scale: float, **_: Any) -> Heads:
    """Attend by k·k (``kk``)."""
    return _attend(key, value, scale)


def neighbour_attention(
    query: Heads,
    key: Heads,
    value: Heads,
    *,
    scale: float,
    grid: tuple[int, int],
    sigma: float = NEIGHBOURHOOD_SIGMA,
) -> Heads:
    """Attend by k·k plus a Gaussian bump around every patch (``naclip``).

    Args:
        query: Not used; every rule takes the same three.
        key: With or without a class token, which is nobody's neighbour.
        value: Like ``key``.
        scale: Of the dot products.
        grid: Height and width of the patches.
        sigma: Width of the bump in patches.
    """
    bump = neighbourhood(grid, sigma).to(key)
    num_special = key.shape[2] - bump.shape[0]
    return _attend(key, value, scale, bias=pad(bump, (num_special, 0, num_special, 0)))


def neighbourhood(grid: tuple[int, int], sigma: float) -> Float[Tensor, "N N"]:
    """Compute exp(−squared distance / 2σ²) between the patches of a grid: 1 on the diagonal, not normalised."""
    y, x = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    places = torch.stack([y.reshape(-1), x.reshape(-1)], dim=1).double()
    return torch.exp(-torch.cdist(places, places).square() / (2 * sigma**2)).float()


#: Rules with one attention matrix a head that is made of queries and keys alone.
RULES: dict[str, Callable[..., Heads]] = {
    "sclip": query_and_key_attention,
    "clearclip": query_attention,
    "kk": key_attention,
    "naclip": neighbour_attention,
}


def _attend(like: Heads, value: Heads, scale: float, bias: Tensor | None = None) -> Heads:
    return scaled_dot_product_attention(like, like, value, attn_mask=bias, scale=scale)


def mixed_values(weights: Float[Tensor, "B T S"], value: Heads) -> Float[Tensor, "B A T d"]:
    """Mix values by one matrix for all heads: rows are the tokens that receive."""
    return torch.einsum("bts,basd->batd", weights, value)


def aggregate_alike(
    tokens: Float[Tensor, "B N W"], similarity: Float[Tensor, "B N N"], *, least: float
) -> Float[Tensor, "B N W"]:
    """Replace tokens by means over those alike, weighted by the similarity where it is at least ``least``."""
    kept = similarity.where(similarity >= least, 0)
    return kept @ tokens / (kept.sum(dim=2, keepdim=True) + 1e-6)


def centred_attention(similarity: Float[Tensor, "B N N"], *, factor: float) -> Float[Tensor, "B N N"]:
    """Compute softmax over keys of ``factor`` times similarity above its mean over the image; nothing below it.

    A row that has no similarity above the mean keeps itself alone.
    """
    argument = factor * (similarity - similarity.mean(dim=(1, 2), keepdim=True))
    return softmax_or_itself(argument, argument >= 0)


def softmax_or_itself(argument: Float[Tensor, "B N N"], allowed: Tensor) -> Float[Tensor, "B N N"]:
    """Compute softmax over the allowed keys; a row always keeps itself, so that none is left with nothing."""
    itself = torch.eye(argument.shape[1], dtype=torch.bool, device=argument.device)
    return argument.masked_fill(~(allowed | itself), float("-inf")).softmax(dim=2)
