"""How the images of a bank rank its classes, each image left out of what it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageScores:
    """Scores of the images of one class.

    Attributes:
        scores: Largest cosine of each image with the references of each class; for its own class, which
            stands at ``own``, without itself, NaN where nothing is left then.
        own: Place of the class.
        clusters: Sub-category of each image.
        num_clusters: Number of sub-categories.
    """

    scores: Float[Tensor, "K C"]
    own: int
    clusters: Int[Tensor, " K"]
    num_clusters: int


def scores_of_images(
    classes: Sequence[tuple[Float[Tensor, "_ D"], Int[Tensor, " _"], Float[Tensor, "_ D"]]],
) -> list[ImageScores]:
    """Score every image against every class, itself left out; one product of all images with all references.

    For its own class an image is first taken out of its sub-category's mean (leave-one-out), so that the entry
    does not stand for an image's likeness to itself.

    Args:
        classes: Unit features, sub-category of each, and unit references of each class.
    """
    references = torch.cat([each[2] for each in classes])
    counts = [len(each[2]) for each in classes]
    starts = torch.tensor([0, *counts]).cumsum(0).tolist()
    owner = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(counts))
    found = []
    for index, (features, clusters, own_references) in enumerate(classes):
        cosines = features @ references.T
        scores = cosines.new_full((len(features), len(classes)), -1.0)
        scores.scatter_reduce_(1, owner.expand(len(features), -1), cosines, reduce="amax")
        scores[:, index] = _leave_one_out(features, clusters, cosines[:, starts[index] : starts[index + 1]])
        found.append(
            ImageScores(scores=scores, own=index, clusters=clusters, num_clusters=len(own_references))
        )
    return found


def inter_class_scores(
    classes: Sequence[tuple[Float[Tensor, "_ D"], Int[Tensor, " _"], Float[Tensor, "_ D"]]],
) -> Float[Tensor, "R C"]:
    """Return ``profiles_of_references`` of classes given by unit features, sub-categories and references."""
    return profiles_of_references(scores_of_images(classes))


def profiles_of_references(scored: Sequence[ImageScores]) -> Float[Tensor, "R C"]:
    """Average, over the images of each sub-category, their score for every class.

    The own score of a class with one image, of which nothing is left without it, is the mean own score of the
    classes that have one, or 1 where none has.

    Returns:
        One row a reference, class after class; one column a class.
    """
    rows: list[Tensor] = []
    for each in scored:
        for cluster in range(each.num_clusters):
            members = each.clusters == cluster
            # k-means leaves no cluster empty, and features were rounded before it
            rows.append((each.scores[members] if members.any() else each.scores).nanmean(0))
    profiles = torch.stack(rows)
    known = torch.cat([each.scores[:, each.own] for each in scored])
    known = known[~known.isnan()]
    typical = float(known.mean()) if len(known) else 1.0
    return profiles.nan_to_num(nan=typical)


def nearness_of_images(scored: Sequence[ImageScores]) -> Float[Tensor, " P"]:
    """Return the largest cosine of each image with any reference of the bank, itself left out.

    How far a thing of a known class may be from all references: what a region's distance is held against. -1 for
    the only image of a class, which without itself is of no known class.
    """
    every = []
    for each in scored:
        alone = each.scores[:, each.own].isnan()
        every.append(each.scores.nan_to_num(nan=-1.0).amax(1).masked_fill(alone, -1.0))
    return torch.cat(every)


def _leave_one_out(
    features: Float[Tensor, "K D"], clusters: Int[Tensor, " K"], cosines: Float[Tensor, "K J"]
) -> Float[Tensor, " K"]:
    """Score each image against its own class without itself; NaN where nothing is left."""
    num_clusters = cosines.shape[1]
    sums = features.new_zeros(num_clusters, features.shape[1]).index_add(0, clusters, features)
    sizes = torch.bincount(clusters, minlength=num_clusters)
    rest = normalize(sums[clusters] - features, dim=-1)
    own = torch.where(sizes[clusters] > 1, (features * rest).sum(-1), -torch.inf)
    others = cosines.scatter(1, clusters[:, None], -torch.inf).amax(1)
    best = torch.maximum(own, others)
    return torch.where(best.isinf(), torch.nan, best)
