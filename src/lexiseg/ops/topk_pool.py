"""Pool tokens by the mean of the M largest values of every channel.

The pooling of LoDA ("A Simple Framework for Text-Supervised Semantic Segmentation", CVPR 2023). The
selection is per channel: two channels may take different tokens, and no token is kept as a whole.

On the CPU a compiled loop keeps the M best of all channels at once while it reads each token a single
time; nothing is sorted. Elsewhere ``torch.topk`` does it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, no_type_check

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiseg.core.compiled import njit
from lexiseg.ops.row_bands import for_bands

#: The loop costs M compares a value; beyond this, torch.topk is faster.
_MAX_KEPT = 24


def topk_mean(
    tokens: Float[Tensor, "B N D"], top_k: int, keep: Bool[Tensor, "B N"] | None = None
) -> Float[Tensor, "B D"]:
    """Average the ``top_k`` largest values of every channel.

    The gradient is 1/M at the M positions of a channel that were averaged and exactly zero elsewhere; of
    equal values the earlier token is taken on the CPU. Half precision is pooled in float32.

    Args:
        tokens: One row a token.
        top_k: k, 1 or more; lowered to the number of tokens where there are fewer.
        keep: True for tokens that take part (padding does not). M is lowered sample by sample, so that a
            result does not depend on the other samples. Every sample keeps one token or more.

    Returns:
        float32, or float64 for such tokens.
    """
    assert top_k >= 1, "top_k is 1 or more"
    if tokens.dtype in (torch.float16, torch.bfloat16):
        tokens = tokens.float()
    num_tokens = tokens.shape[1]
    if keep is None:
        if top_k >= num_tokens:
            return tokens.mean(1)
        if top_k == 1:
            return tokens.amax(1) if not tokens.requires_grad else _topk_mean(tokens, 1, None)
        return _topk_mean(tokens, top_k, None)
    return _topk_mean(tokens, min(top_k, num_tokens), keep)


def token_mean(
    tokens: Float[Tensor, "B N D"], keep: Bool[Tensor, "B N"] | None = None
) -> Float[Tensor, "B D"]:
    """Average all tokens, or those to keep: what ``topk_mean`` gives for large M, and cheaper."""
    if keep is None:
        return tokens.mean(1)
    weights = keep.to(tokens.dtype)
    return einsum(tokens, weights, "b n d, b n -> b d") / weights.sum(1, keepdim=True)


def _topk_mean(
    tokens: Float[Tensor, "B N D"], top_k: int, keep: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B D"]:
    if tokens.device.type == "cpu" and top_k <= _MAX_KEPT and not torch.compiler.is_compiling():
        pool: Callable[[Tensor, int, Tensor | None], Tensor] = _KeepBest.apply
        return pool(tokens, top_k, keep)
    return topk_mean_by_torch(tokens, top_k, keep)


def topk_mean_by_torch(
    tokens: Float[Tensor, "B N D"], top_k: int, keep: Bool[Tensor, "B N"] | None = None
) -> Float[Tensor, "B D"]:
    """Do the same as ``topk_mean`` with ``torch.topk``, for any device and any M."""
    if keep is None:
        return tokens.topk(top_k, dim=1).values.mean(1)
    counts = _counts(keep, top_k)
    shown = tokens.masked_fill(~keep[:, :, None], float("-inf"))
    best = shown.topk(top_k, dim=1).values
    taken = torch.arange(top_k, device=tokens.device) < counts[:, None]
    return best.masked_fill(~taken[:, :, None], 0.0).sum(1) / counts[:, None]


def _counts(keep: Bool[Tensor, "B N"], top_k: int) -> Int64[Tensor, " B"]:
    counts = keep.sum(1)
    assert torch.compiler.is_compiling() or bool((counts > 0).all()), "a sample without tokens to pool"
    return counts.clamp(max=top_k)


class _KeepBest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, top_k: int, keep: Tensor | None) -> Tensor:
        # Each sample on its own: which tokens count, and how many values are averaged.
        tokens = tokens.detach().contiguous()
        batch, num_tokens, width = tokens.shape
        kept = torch.ones(1, num_tokens, dtype=torch.bool) if keep is None else keep.contiguous()
        kept = kept.expand(batch, -1)
        counts = torch.full((batch,), top_k) if keep is None else _counts(kept, top_k)
        # Remember the chosen tokens: the gradient goes to them alone.
        pooled = torch.empty(batch, width, dtype=tokens.dtype)
        chosen = np.zeros((batch, top_k, width), np.int32)
        work = partial(_keep_best, tokens.numpy(), kept.numpy(), counts.numpy(), pooled.numpy(), chosen)
        for_bands(work, batch, min_rows=8)
        ctx.chosen, ctx.counts, ctx.num_tokens = chosen, counts.numpy(), num_tokens
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad = grads[0].contiguous()
        spread = torch.zeros(grad.shape[0], ctx.num_tokens, grad.shape[1], dtype=grad.dtype)
        work = partial(_spread, grad.numpy(), ctx.chosen, ctx.counts, spread.numpy())
        for_bands(work, len(grad), min_rows=8)
        return spread, None, None


@no_type_check
@njit(cache=True, nogil=True)
def _keep_best(tokens, keep, counts, pooled, chosen, start, stop):
    """Carry each value down the list of the best so far, all channels of a token side by side."""
    num_tokens, width = tokens.shape[1:]
    best = np.empty((chosen.shape[1], width), tokens.dtype)
    value = np.empty(width, tokens.dtype)
    place = np.empty(width, np.int32)
    for sample in range(start, stop):
        count = counts[sample]
        best[:] = -np.inf
        picks = chosen[sample]
        for token in range(num_tokens):
            if not keep[sample, token]:
                continue
            # Insert the token: the loser of each comparison goes on to the next rank (no branch, so vectorised).
            row = tokens[sample, token]
            for channel in range(width):
                value[channel] = row[channel]
                place[channel] = token
            for rank in range(count):
                for channel in range(width):
                    new, old = value[channel], best[rank, channel]
                    new_place, old_place = place[channel], picks[rank, channel]
                    wins = (new > old) | (new != new)  # not-a-number stays in sight
                    best[rank, channel] = new if wins else old
                    picks[rank, channel] = new_place if wins else old_place
                    value[channel] = old if wins else new
                    place[channel] = old_place if wins else new_place
        # Average the best values of each channel.
        for channel in range(width):
            total = best[0, channel]
            for rank in range(1, count):
                total += best[rank, channel]
            pooled[sample, channel] = total / count


@no_type_check
@njit(cache=True, nogil=True)
def _spread(grad, chosen, counts, spread, start, stop):
    for sample in range(start, stop):
        for rank in range(counts[sample]):
            for channel in range(grad.shape[1]):
                spread[sample, chosen[sample, rank, channel], channel] += (
                    grad[sample, channel] / counts[sample]
                )
