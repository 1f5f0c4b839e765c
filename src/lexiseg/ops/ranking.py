"""Distributions over rankings of classes, and how far apart two of them are.

Class scores become a distribution over orders of the classes (Plackett-Luce; in learning to rank:
ListNet, Cao et al., ICML 2007), or over who comes first, its cheap limit. ``region_matching`` says what for.
"""

import itertools
import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lexiseg.core.errors import InputError

Divergence = Literal["kl", "reverse_kl", "jensen_shannon"]

#: Candidates at most in a full ranking: 7! = 5,040 orders.
MAX_RANKED = 7


def standardise(
    scores: Float[Tensor, "*batch K"], over: Float[Tensor, "*batch C"] | None = None
) -> Float[Tensor, "*batch K"]:
    """Return every score vector shifted and scaled to mean 0 and deviation 1.

    Args:
        scores: Score vectors in the last dimension.
        over: Vectors whose mean and deviation are taken instead, such as the scores of more classes than those
            that are compared. Where one of these is constant the result is zeros.
    """
    over = scores if over is None else over
    mean = over.mean(dim=-1, keepdim=True)
    deviation = (over - mean).square().mean(dim=-1, keepdim=True).sqrt()
    tiny = 1e-6 * over.abs().amax(dim=-1, keepdim=True).clamp(min=1e-30)  # rounding, not spread
    return torch.where(deviation > tiny, (scores - mean) / deviation.clamp(min=1e-30), 0.0)


def ranking_log_probabilities(
    scores: Float[Tensor, "*batch n"], temperature: float
) -> Float[Tensor, "*batch orders"]:
    """Return the log probability of each of the n! orders of n classes (Plackett-Luce).

    An order is drawn class by class, each with a probability proportional to ``exp(score / temperature)``
    among those that are left. Orders stand as ``itertools.permutations(range(n))`` lists them. In logs
    throughout, so that small temperatures do not underflow.

    Raises:
        InputError: More than ``MAX_RANKED`` classes, or a temperature that is not above zero.
    """
    _check_temperature(temperature)
    if scores.shape[-1] > MAX_RANKED:
        raise InputError(
            doing="ranking the classes of a region",
            found=f"{scores.shape[-1]} candidates, which is {math.factorial(scores.shape[-1]):,} orders",
            expected=f"{MAX_RANKED} candidates or fewer",
            fix="Take fewer candidates, or the top_one ranking, which takes any number.",
        )
    # In double precision: the two sums nearly cancel. Cheap, as there are few candidates.
    logits = (scores - scores.amax(dim=-1, keepdim=True)).double() / temperature
    # Every order has the same numerator, and a denominator knows only the set of those left: 2^n - 1 sets.
    members, on_the_way = (table.to(scores.device) for table in _orders(scores.shape[-1]))
    left = torch.logsumexp(logits.unsqueeze(-2).masked_fill(~members, -torch.inf), dim=-1)
    return (logits.sum(dim=-1, keepdim=True) - left @ on_the_way.to(left.dtype)).to(scores.dtype)


def top_one_log_probabilities(
    scores: Float[Tensor, "*batch K"], temperature: float
) -> Float[Tensor, "*batch K"]:
    """Return the log probability of each class to come first: the first factor of the ranking."""
    _check_temperature(temperature)
    return torch.log_softmax(scores / temperature, dim=-1)


def divergence(
    region: Float[Tensor, "*#batch n"], reference: Float[Tensor, "*#batch n"], kind: Divergence = "kl"
) -> Float[Tensor, "*pairs"]:
    """Compare two distributions given as log probabilities; in nats, never below zero.

    Args:
        region: The distribution of the regions.
        reference: That of the references; broadcasts against ``region``.
        kind: ``kl`` is KL(region ‖ reference), ``reverse_kl`` the other way round, ``jensen_shannon`` the mean
            of both to their mixture, at most ln 2.
    """
    if kind == "reverse_kl":
        region, reference = reference, region
    if kind == "jensen_shannon":
        mixture = torch.logaddexp(region, reference) - math.log(2)
        return (_kl(region, mixture) + _kl(reference, mixture)) / 2
    return _kl(region, reference)


@lru_cache
def _orders(n: int) -> tuple[Bool[Tensor, "sets n"], Bool[Tensor, "sets orders"]]:
    """List the members of every set of n classes, none empty, and the sets each order leaves on its way."""
    orders = torch.tensor(list(itertools.permutations(range(n))), dtype=torch.int64)
    left = (1 << orders).flip(1).cumsum(dim=1)
    on_the_way = torch.zeros(2**n, len(orders), dtype=torch.bool).scatter_(0, left.T, True)
    members = (torch.arange(2**n)[:, None] & (1 << torch.arange(n))) > 0
    return members[1:], on_the_way[1:]


def _kl(left: Float[Tensor, "*#batch n"], right: Float[Tensor, "*#batch n"]) -> Float[Tensor, "*pairs"]:
    return (left.exp() * (left - right)).sum(dim=-1).clamp(min=0)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise InputError(
            doing="turning scores into a ranking",
            found=f"a temperature of {temperature}",
            expected="a number above zero",
            fix="Near the spread of the scores (cosines 0.1, standardised ones 1) is a start: smaller values leave "
            "only the order, larger ones flatten it.",
        )
