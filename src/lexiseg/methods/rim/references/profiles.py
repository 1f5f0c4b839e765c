"""Inter-class scores: how the pictures behind each reference rank all classes, themselves left out."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize


def inter_class_scores(
    classes: Sequence[tuple[Float[Tensor, "_ D"], Int[Tensor, " _"], Float[Tensor, "_ D"]]],
) -> Float[Tensor, "R C"]:
    """Average, over the pictures of each sub-category, their score for every class.

    The score of a picture for a class is its largest cosine with the class's references. For its
    own class a picture is first taken out of its sub-category's mean (leave-one-out), so that the
    entry does not stand for a picture's likeness to itself. Of a class with one picture nothing is
    left then; it gets the mean own score of the classes that have one, or 1 where none has. Costs
    one product of all pictures with all references.

    Args:
        classes: Unit features, sub-category of each, and unit references of each class.

    Returns:
        One row a reference, class after class; one column a class.
    """
    references = torch.cat([each[2] for each in classes])
    counts = [len(each[2]) for each in classes]
    starts = torch.tensor([0, *counts]).cumsum(0).tolist()
    owner = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(counts))
    rows: list[Tensor] = []
    own_scores: list[Tensor] = []
    for index, (features, clusters, own_references) in enumerate(classes):
        cosines = features @ references.T
        scores = cosines.new_full((len(features), len(classes)), -1.0)
        scores.scatter_reduce_(1, owner.expand(len(features), -1), cosines, reduce="amax")
        own = _leave_one_out(features, clusters, cosines[:, starts[index] : starts[index + 1]])
        scores[:, index] = own
        own_scores.append(own)
        for cluster in range(len(own_references)):
            members = clusters == cluster
            # k-means leaves no cluster empty; a bank read back in half precision keeps that
            rows.append(scores[members].nanmean(0) if members.any() else scores.nanmean(0))
    profiles = torch.stack(rows)
    known = torch.cat(own_scores)
    known = known[~known.isnan()]
    typical = float(known.mean()) if len(known) else 1.0
    return profiles.nan_to_num(nan=typical)


def _leave_one_out(
    features: Float[Tensor, "K D"], clusters: Int[Tensor, " K"], cosines: Float[Tensor, "K J"]
) -> Float[Tensor, " K"]:
    """Score each picture against its own class without itself; NaN where nothing is left."""
    num_clusters = cosines.shape[1]
    sums = features.new_zeros(num_clusters, features.shape[1]).index_add(0, clusters, features)
    sizes = torch.bincount(clusters, minlength=num_clusters)
    rest = normalize(sums[clusters] - features, dim=-1)
    own = torch.where(sizes[clusters] > 1, (features * rest).sum(-1), -torch.inf)
    others = cosines.scatter(1, clusters[:, None], -torch.inf).amax(1)
    best = torch.maximum(own, others)
    return torch.where(best.isinf(), torch.nan, best)
