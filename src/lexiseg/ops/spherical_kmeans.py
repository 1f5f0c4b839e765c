"""Group unit vectors by direction (spherical k-means: Dhillon and Modha, Machine Learning 2001)."""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Clusters:
    """Groups of vectors.

    Attributes:
        centroids: Unit vectors, the largest group first.
        assignment: Group of each vector.
        objective: Mean cosine of the vectors to their centroids, at most 1.
    """

    centroids: Float[Tensor, "R D"]
    assignment: Int64[Tensor, " P"]
    objective: float


def spherical_kmeans(
    vectors: Float[Tensor, "P D"],
    num_clusters: int,
    *,
    restarts: int = 10,
    rounds: int = 50,
    seed: int = 0,
) -> Clusters:
    """Group vectors so that the cosine of each to the centroid of its group is large.

    All restarts run side by side; the best is kept. The same seed gives the same groups.

    Args:
        vectors: Made unit length first. Zero vectors belong nowhere and go to the first group.
        num_clusters: Groups wanted. There are fewer where fewer directions differ; one gives the mean.
        restarts: Random beginnings (k-means++).
        rounds: Rounds at most; it ends when nothing changes.
        seed: Seed of the random beginnings.

    Raises:
        InputError: There is no vector, or fewer than one group is wanted.
    """
    if len(vectors) == 0 or num_clusters < 1:
        raise InputError(
            doing="grouping vectors by direction",
            found=f"{len(vectors)} vectors and {num_clusters} groups",
            expected="one vector or more, and one group or more",
            fix="Give at least one vector, or ask for one group.",
        )
    points = normalize(vectors.detach().to("cpu", torch.float64), dim=-1)
    centroids = _spread_out(points, min(num_clusters, len(points)), restarts, seed)
    assignment = _nearest(points, centroids)
    for _ in range(rounds):
        members = one_hot(assignment, centroids.shape[1]).to(points.dtype)
        sums = einsum(members, points, "t p r, p d -> t r d")
        # A group without members keeps its centroid; it is dropped if it is still empty at the end.
        centroids = torch.where(sums.norm(dim=-1, keepdim=True) > 0, normalize(sums, dim=-1), centroids)
        again = _nearest(points, centroids)
        if torch.equal(again, assignment):
            break
        assignment = again
    reached = einsum(points, centroids, "p d, t r d -> t p r").amax(dim=-1).mean(dim=-1)
    best = int(reached.argmax())
    sizes = assignment[best].bincount(minlength=centroids.shape[1])
    order = sizes.argsort(descending=True, stable=True)[: int((sizes > 0).sum())]
    number = torch.zeros_like(sizes).scatter_(0, order, torch.arange(len(order)))
    return Clusters(
        centroids=centroids[best, order].to(vectors),
        assignment=number[assignment[best]].to(vectors.device),
        objective=float(reached[best]),
    )


def _spread_out(points: Float[Tensor, "P D"], num: int, restarts: int, seed: int) -> Float[Tensor, "T R D"]:
    """Choose beginnings among the vectors: each next one likely far from those chosen (k-means++)."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(points), (restarts,), generator=generator)
    chosen = rearrange(points[first], "t d -> t 1 d")
    for _ in range(num - 1):
        distance = (1 - einsum(points, chosen, "p d, t r d -> t p r").amax(dim=-1)).clamp(min=0)
        distance = torch.where(distance < 1e-12, 0.0, distance)  # rounding is no distance
        distance += 1e-300  # all vectors may lie on those chosen; then any will do
        chosen_next = torch.multinomial(distance / distance.amax(dim=1, keepdim=True), 1, generator=generator)
        chosen = torch.cat([chosen, points[chosen_next]], dim=1)
    return chosen


def _nearest(points: Float[Tensor, "P D"], centroids: Float[Tensor, "T R D"]) -> Int64[Tensor, "T P"]:
    return einsum(points, centroids, "p d, t r d -> t p r").argmax(dim=-1)
