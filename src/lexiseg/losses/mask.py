"""Focal and dice loss between mask logits and binary masks, for given pairs or for all pairs.

Focal: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, with alpha 0.25 and gamma 2. Dice:
Milletari et al., "V-Net", 3DV 2016, with one added above and below. Weighed 20 to 1 they are the mask loss of
MaskFormer (NeurIPS 2021).
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

_ALPHA = 0.25  # weight of the inside; the outside has the rest
_PART_ON_CPU, _PART = 2**18, 2**25  # pixels of all masks worked on at a time


def focal_loss(
    logits: Float[Tensor, "N P"], masks: Float[Tensor, "N P"] | Bool[Tensor, "N P"]
) -> Float[Tensor, " N"]:
    """Compute the focal loss of every mask: a mean over its pixels, 0 or more."""
    inside = masks.to(logits.dtype)
    miss = (logits.sigmoid() - inside).abs()  # 1 - p_t
    ce = binary_cross_entropy_with_logits(logits, inside, reduction="none")
    weight = (1 - _ALPHA) + (2 * _ALPHA - 1) * inside
    return (weight * miss.square() * ce).mean(dim=1)


def dice_loss(
    logits: Float[Tensor, "N P"], masks: Float[Tensor, "N P"] | Bool[Tensor, "N P"]
) -> Float[Tensor, " N"]:
    """Compute the dice loss of every mask, in [0, 1)."""
    probabilities, inside = logits.sigmoid(), masks.to(logits.dtype)
    both = (probabilities * inside).sum(dim=1)
    return 1 - (2 * both + 1) / (probabilities.sum(dim=1) + inside.sum(dim=1) + 1)


def pairwise_focal_and_dice(
    logits: Float[Tensor, "B Q P"], masks: Float[Tensor, "B M P"], *, focal: float, dice: float
) -> Float[Tensor, "B Q M"]:
    """Compute ``focal * focal_loss + dice * dice_loss`` of every proposal with every mask of its image.

    Both losses are sums over pixels of something of the proposal times the mask, so all pairs are one
    batched matrix product. Memory is ``B (3 Q + M) P`` numbers: nothing has proposals, masks and pixels at once.
    """
    probabilities = logits.sigmoid()
    ce_outside = softplus(logits)
    wrong_outside = (1 - _ALPHA) * probabilities.square() * ce_outside
    wrong_inside = _ALPHA * (1 - probabilities).square() * (ce_outside - logits)
    # A pixel costs what it costs outside; where the mask is, the difference to what it costs inside.
    rows = torch.cat([wrong_inside - wrong_outside, probabilities], dim=1)
    inside, both = torch.matmul(rows, masks.transpose(1, 2)).chunk(2, dim=1)
    per_pixel = (inside + wrong_outside.sum(dim=2, keepdim=True)) / logits.shape[2]
    areas = probabilities.sum(dim=2)[:, :, None] + masks.sum(dim=2)[:, None, :]
    return focal * per_pixel + dice * (1 - (2 * both + 1) / (areas + 1))


def focal_and_dice(
    logits: Float[Tensor, "N P"], masks: Bool[Tensor, "N P"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Compute ``focal_loss`` and ``dice_loss`` together, keeping only logits and masks for the gradient.

    The same numbers in less than half the time and a seventh of the memory: of large crops the intermediate
    results of the two losses are what fills a device. Cannot be differentiated twice.
    """
    return _FocalAndDice.apply(logits, masks)  # type: ignore[no-untyped-call]


class _FocalAndDice(Function):
    """Both losses from ``m = 1 - p_t`` at every pixel, a few masks at a time.

    With ``s = -log(1 - m)`` and ``w`` the weight, focal is the mean of
    ``w m² s``. With ``A`` the sum of ``m`` and ``A⁺`` its part inside the mask, whose area is ``a``, dice is
    ``A / (2 a + A - 2 A⁺ + 1)``. The logit raises ``m`` by ``m (1 - m)`` outside and lowers it inside.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        focal, lost, union = _in_parts(_focal_lost_union, logits, masks)
        ctx.save_for_backward(logits, masks, lost, union)
        return focal, lost / union

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_focal: Tensor, by_dice: Tensor) -> tuple[Tensor, None]:
        logits, masks, lost, union = ctx.saved_tensors
        by_pixel = by_focal / logits.shape[1]
        by_lost, by_union = by_dice / union, by_dice * lost / union.square()
        (slopes,) = _in_parts(_slopes, logits, masks, by_pixel, by_lost, by_union)
        return slopes, None


def _focal_lost_union(logits: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
    sides, miss, ce = _signs_and_losses(logits, masks)
    lost = miss.sum(dim=1)
    union = 2 * masks.sum(dim=1) + torch.linalg.vecdot(miss, sides) + 1
    weights = sides.mul_(0.5 - _ALPHA).add_(0.5)
    focal = torch.linalg.vecdot(miss.square_().mul_(ce), weights) / logits.shape[1]
    return focal, lost, union


def _slopes(
    logits: Tensor, masks: Tensor, by_pixel: Tensor, by_lost: Tensor, by_union: Tensor
) -> tuple[Tensor, ...]:
    sides, miss, ce = _signs_and_losses(logits, masks)
    present = 1 - miss
    slopes = ce.mul_(present).mul_(2).add_(miss).mul_(miss)
    slopes.mul_(sides * (0.5 - _ALPHA) + 0.5).mul_(by_pixel[:, None])
    slopes.add_(present.mul_(by_lost[:, None] - sides * by_union[:, None]))
    return (slopes.mul_(miss).mul_(sides),)


def _signs_and_losses(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return -1 inside and 1 outside the mask, 1 - p_t, and the cross-entropy -log p_t."""
    sides = masks.to(logits.dtype).mul_(-2).add_(1)
    wrong = logits * sides
    return sides, wrong.sigmoid(), softplus(wrong)


def _in_parts(function: Callable[..., tuple[Tensor, ...]], *rows: Tensor) -> list[Tensor]:
    """Call a function on some rows at a time: what fits a processor's cache takes half as long."""
    logits = rows[0]
    numbers = _PART_ON_CPU if logits.device.type == "cpu" else _PART
    count = max(1, numbers // logits.shape[1])
    parts = zip(*(torch.split(value, count) for value in rows), strict=True)
    return [torch.cat(values) for values in zip(*(function(*part) for part in parts), strict=True)]
