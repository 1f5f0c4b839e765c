"""Tokens that fell out of their image: found by how far they are from all others, replaced by their neighbours.

A vision transformer turns some patches of plain ground into registers of global facts; they are far from every other
token. Bai et al., "Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation", 2024 (SC-CLIP). Its local outlier
factor reduces to the ratio of distances used here.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d

#: The paper's, set for 14 by 14 tokens.
NUM_NEIGHBOURS = 30
OUTLIER_SHARE = 0.05


def outlier_scores(
    tokens: Float[Tensor, "B N W"], *, num_neighbours: int = NUM_NEIGHBOURS
) -> Float[Tensor, "B N"]:
    """Score how much farther every token is from its neighbours than those are from theirs.

    The reach of a token is its squared distance to its ``num_neighbours``-th nearest other one; its score is the mean,
    over these neighbours, of its reach by theirs. The scale of all tokens does not matter. Of equally near tokens the
    one with the lower index counts as nearer. One token alone scores 0; equal tokens score 1.
    """
    num_tokens = tokens.shape[1]
    count = min(num_neighbours, num_tokens - 1)
    if count < 1:
        return tokens.new_zeros(tokens.shape[:2])
    tokens = tokens.float() - tokens.float().mean(dim=1, keepdim=True)  # less cancels in the differences
    squares = tokens.square().sum(dim=2)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * tokens @ tokens.transpose(1, 2)
    distances = distances.clamp(min=0).masked_fill(
        torch.eye(num_tokens, dtype=torch.bool, device=tokens.device), float("inf")
    )
    order = distances.argsort(dim=2, stable=True)[:, :, :count]
    reach = distances.gather(2, order[:, :, -1:])[:, :, 0]
    theirs = reach[:, None, :].expand(-1, num_tokens, -1).gather(2, order)
    least = 1e-9 * reach.amax(dim=1)[:, None, None]
    ratio = (reach[:, :, None] / theirs.clamp(min=least)).where(theirs + reach[:, :, None] > 0, 1.0)
    return ratio.mean(dim=2)


def find_outliers(scores: Float[Tensor, "B N"], *, share: float = OUTLIER_SHARE) -> Bool[Tensor, "B N"]:
    """Tell which tokens score above the quantile ``1 - share`` of their image."""
    return scores > scores.quantile(1 - share, dim=1, keepdim=True)


def repair_tokens(
    tokens: Float[Tensor, "B N W"], outliers: Bool[Tensor, "B N"], grid: tuple[int, int]
) -> Float[Tensor, "B N W"]:
    """Replace outliers by the mean of those of their eight grid neighbours that are none.

    An outlier without such a neighbour stays.
    """
    sound = rearrange((~outliers).to(tokens), "b (h w) -> b 1 h w", h=grid[0])
    maps = rearrange(tokens, "b (h w) d -> b d h w", h=grid[0])
    ring = tokens.new_ones(1, 1, 3, 3)
    ring[0, 0, 1, 1] = 0
    count = conv2d(sound, ring, padding=1)
    depth = maps.shape[1]
    total = conv2d(maps * sound, ring.expand(depth, 1, 3, 3), padding=1, groups=depth)
    replaced = rearrange(total / count.clamp(min=1), "b d h w -> b (h w) d")
    is_replaced = outliers & rearrange(count > 0, "b 1 h w -> b (h w)")
    return replaced.where(is_replaced[:, :, None], tokens)
