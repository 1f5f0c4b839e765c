"""Fit a head to all that a person knows of images: masks, tags, words of captions, or nothing but names.

A patch is *known* where a mask says what most of it is. Every other patch is of one of its image's *candidates*: the
tags of the image, the words of its captions, the classes without masks, or all classes. The patches of an image are first
shared out among its candidates by what the head begins with (mini's opinion of the names, or the share of images that have a
tag), then by what was fitted, a few times, as in Dempster, Laird and Rubin's EM with hard assignments. Every tag keeps a least
share of the image: without that the most frequent class takes all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from lexiseg.methods.frozen_head.head import LinearHead
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.ops.ridge import RidgeSums


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What is known of one image.

    Attributes:
        rows: Features of its patches; with a prior, mini's probabilities of the classes are the last of them.
        shares: Share of each known patch that every class has; rows of other patches are not looked at.
        known: Which patches masks say something of.
        candidates: Classes that the other patches can be of; with none they are left out.
        is_certain: Every candidate is in the image, as tags say; otherwise each may or may not be.
    """

    rows: Float[Tensor, "N F"]
    shares: Float[Tensor, "N K"] | None = None
    known: Bool[Tensor, " N"] | None = None
    candidates: tuple[int, ...] = ()
    is_certain: bool = True


def first_weight(num_features: int, num_classes: int, settings: FrozenHeadSettings) -> Float[Tensor, "F K"]:
    """Return the head that knows what mini says, or nothing."""
    weight = torch.zeros(num_features, num_classes)
    if settings.prior != "none":
        weight[-num_classes:] = settings.prior_weight * torch.eye(num_classes)
    return weight


def fit_head(
    evidence: Sequence[Evidence], num_classes: int, settings: FrozenHeadSettings, *, num_alike: int
) -> LinearHead:
    """Fit the head.

    Args:
        evidence: Of one or more images; those that say nothing are left out.
        num_classes: Number of classes.
        settings: How it is fitted, and what its scores are averaged over.
        num_alike: How many of the first features say which patches are alike; 0 where none do.

    Returns:
        From features to classes; what nothing was said of is as ``first_weight`` has it.
    """
    weight = _fit_weight(evidence, num_classes, settings)
    if all(image.known is None for image in evidence):
        weight = with_kept_prior(weight, settings)
    return LinearHead(weight, num_alike=num_alike, smoothing=settings.smoothing)


def _fit_weight(
    evidence: Sequence[Evidence], num_classes: int, settings: FrozenHeadSettings
) -> Float[Tensor, "F K"]:
    first = first_weight(evidence[0].rows.shape[1], num_classes, settings)
    used = [each for each in evidence if _used(each).any()]
    if not used:
        return first
    targets = [_first_targets(each, first, num_classes, settings) for each in used]
    weight = _solve(used, targets, first, settings)
    if any(each.is_certain and each.candidates for each in used):
        for _ in range(settings.num_rounds):
            targets = [
                _shared_out(each, each.rows @ weight, num_classes, settings) if each.is_certain else before
                for each, before in zip(used, targets, strict=True)
            ]
            weight = _solve(used, targets, first, settings)
    return weight


def with_kept_prior(weight: Float[Tensor, "F K"], settings: FrozenHeadSettings) -> Float[Tensor, "F K"]:
    """Add mini's opinion to what was fitted without masks, which shares patches out by that opinion and blurs it."""
    if settings.prior == "none":
        return weight
    kept = weight.clone()
    num_classes = weight.shape[1]
    kept[-num_classes:] += settings.kept_prior * torch.eye(num_classes)
    return kept


def _used(image: Evidence) -> Bool[Tensor, " N"]:
    known = torch.zeros(len(image.rows), dtype=torch.bool) if image.known is None else image.known
    return torch.ones_like(known) if image.candidates else known


def _first_targets(
    image: Evidence, first: Float[Tensor, "F K"], num_classes: int, settings: FrozenHeadSettings
) -> Float[Tensor, "N K"]:
    scores = image.rows @ first
    if settings.prior != "none" or not image.candidates:
        return _shared_out(image, scores, num_classes, settings)
    even = torch.zeros_like(scores)
    even[:, list(image.candidates)] = 1 / len(image.candidates)
    return _with_known(image, even)


def _shared_out(
    image: Evidence, scores: Float[Tensor, "N K"], num_classes: int, settings: FrozenHeadSettings
) -> Float[Tensor, "N K"]:
    """Give every patch that is not known the candidate that scores highest there."""
    if not image.candidates:
        return _with_known(image, torch.zeros(len(image.rows), num_classes))
    candidates = torch.tensor(image.candidates)
    among = scores[:, candidates].clone()
    if image.known is not None:
        among[image.known] = -torch.inf
    chosen = among.argmax(dim=1)
    if image.is_certain:
        free = len(among) if image.known is None else int((~image.known).sum())
        _keep_least(chosen, among, min(int(settings.least_share * len(among)), free // len(candidates)))
    return _with_known(image, one_hot(candidates[chosen], num_classes).float())


def _keep_least(chosen: Int64[Tensor, " N"], among: Float[Tensor, "N C"], least: int) -> None:
    """Give every candidate the patches where it comes nearest to winning, as far as it has too few."""
    if least < 1:
        return
    margins = among - among.amax(dim=1, keepdim=True)
    for place in range(among.shape[1]):
        if int((chosen == place).sum()) < least:
            chosen[margins[:, place].nan_to_num(nan=-torch.inf).topk(least).indices] = place


def _with_known(image: Evidence, targets: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    if image.known is None or image.shares is None:
        return targets
    return torch.where(image.known[:, None], image.shares, targets)


def _solve(
    used: Sequence[Evidence],
    targets: Sequence[Float[Tensor, "_ K"]],
    first: Float[Tensor, "F K"],
    settings: FrozenHeadSettings,
) -> Float[Tensor, "F K"]:
    """Solve for the weights; patches of frequent classes count less, by ``balance``, and one a patch on average."""
    counts = sum(
        (target[_used(image)].sum(0) for image, target in zip(used, targets, strict=True)),
        first.new_zeros(()),
    )
    of_class = (counts / counts.sum()).clamp(min=1e-6) ** -settings.balance
    of_class = of_class * counts.sum() / (counts * of_class).sum()
    sums = RidgeSums.empty(*first.shape)
    for image, target in zip(used, targets, strict=True):
        which = _used(image)
        sums.add(image.rows[which], target[which], (target @ of_class)[which])
    return sums.solve(settings.penalty, first)
