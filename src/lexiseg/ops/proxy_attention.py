"""Attention that one network lends another: patches attend to those that a vision model finds alike.

Lan et al., "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024, from its formulas.

Difference from the public code: the mean similarity is that of one image, not of the batch, and a patch always keeps
itself, so that a flat image, whose every similarity is below the limit, is no division of nothing by nothing.
"""

from collections.abc import Callable, Iterable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.ops.self_attention import softmax_or_itself

#: The paper's: 1.0 to 1.6 and 2 to 5 give about the same.
BETA, GAMMA = 1.2, 3.0


def proxy_attention(
    features: Float[Tensor, "B N D"], *, beta: float = BETA, gamma: float = GAMMA
) -> Float[Tensor, "B N N"]:
    """Compute softmax over keys of the cosines above ``beta`` times their mean, ``gamma`` times; nothing below it.

    Args:
        features: Unit rows.
        beta: Higher lets fewer patches through.
        gamma: Sharpness.
    """
    similarity = features @ features.transpose(1, 2)
    argument = gamma * (similarity - beta * similarity.mean(dim=(1, 2), keepdim=True))
    return softmax_or_itself(argument, argument >= 0)


def soft_affinity(features: Float[Tensor, "B N D"], temperature: float) -> Float[Tensor, "B N N"]:
    """Compute softmax over keys of the cosines divided by ``temperature``: rows sum to 1, nothing is left out.

    Args:
        features: Unit rows.
        temperature: Higher than 0; the lower, the more a patch keeps to itself and to its likes.
    """
    return (features @ features.transpose(1, 2) / temperature).softmax(dim=-1)


def resize_values(
    values: Float[Tensor, "B A N d"], grid: tuple[int, int], to: tuple[int, int]
) -> Float[Tensor, "B A M d"]:
    """Resize values by head bilinearly (half-pixel centres) from one grid of patches to another."""
    if grid == to:
        return values
    num_heads = values.shape[1]
    maps = rearrange(values, "b a (h w) d -> b (a d) h w", h=grid[0])
    resized = interpolate(maps, size=to, mode="bilinear", align_corners=False)
    return rearrange(resized, "b (a d) h w -> b a (h w) d", a=num_heads)


def gated_attention(
    heads: Callable[[], Iterable[tuple[Float[Tensor, "n n"], Float[Tensor, "n d"]]]],
    *,
    factor: float = 1.2,
    negative_limit: float | None = None,
) -> Float[Tensor, "n n"]:
    """Keep a network's attention where values are alike, mean over heads, rows sum to 1 (Trident's affinity).

    Shi et al., "Harnessing Vision Foundation Models for High-Performance, Training-Free Open Vocabulary Segmentation",
    2024. A token's limit is ``factor`` times its mean cosine with all tokens over all heads, 0.9 at most.
    Two passes over the heads, one head in memory at a time. A row that keeps nothing keeps itself.

    Args:
        heads: Gives weights after softmax and values of each head; asked twice.
        factor: 1.2; 0 keeps what is alike at all, large negative numbers keep everything.
        negative_limit: Taken in place of limits below zero; None leaves them.
    """
    means = torch.stack([_cosines(values).mean(dim=1) for _, values in heads()])
    limit = (factor * means.mean(dim=0)).clamp(max=0.9)
    if negative_limit is not None:
        limit = limit.where(limit >= 0, negative_limit)
    total = torch.zeros(len(limit), len(limit), dtype=limit.dtype, device=limit.device)
    for weights, values in heads():
        total += weights * (_cosines(values) > limit[:, None])
    rows = total.sum(dim=1, keepdim=True)
    itself = torch.eye(len(total), dtype=total.dtype, device=total.device)
    return torch.where(rows > 0, total / rows.clamp(min=torch.finfo(total.dtype).tiny), itself)


def _cosines(values: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    rows = normalize(values, dim=1)
    return rows @ rows.T
