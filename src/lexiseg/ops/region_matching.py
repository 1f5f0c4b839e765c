"""Match regions with classes by how they rank all classes, not by the single best similarity.

After "Image-to-Image Matching via Foundation Models: A New Perspective for Open-Vocabulary Semantic
Segmentation" (RIM, CVPR 2024). The paper's idea is public, its formula was not readable to us: what
stands here is a *reconstruction*. A region has a distribution over rankings of the classes and so has
every reference image; a region receives the class whose references have the nearest distribution.
Every argument of ``match_regions`` is one of the open questions, its default the answer we chose.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.errors import InputError
from lexiseg.ops.ranking import (
    Divergence,
    divergence,
    ranking_log_probabilities,
    standardise,
    top_one_log_probabilities,
)

Ranking = Literal["plackett_luce", "top_one", "cosine"]
Reduction = Literal["nearest", "mean"]

_CHUNK = 2**24  # numbers held at a time by the divergence that cannot be written as a matrix product


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionMatch:
    """What a region was compared with and what came out.

    Attributes:
        labels: Class of each region: the candidate of the smallest divergence.
        candidates: Classes compared, best score first, ``Q m``.
        divergences: Distance of the region's ranking to that of each candidate, 0 or more; smaller is
            better. Under ``cosine`` it is how far the score lies behind the best.
        best_by_score: Class with the highest score, what matching without relations would say.
    """

    labels: Int64[Tensor, " Q"]
    candidates: Int64[Tensor, "Q m"]
    divergences: Float[Tensor, "Q m"]
    best_by_score: Int64[Tensor, " Q"]

    def class_scores(self, num_classes: int) -> Float[Tensor, "Q K"]:
        """Turn divergences into scores, higher wins: ``1 / (1 + divergence)``, 0 for classes not compared."""
        scores = self.divergences.new_zeros(len(self.labels), num_classes)
        return scores.scatter_(1, self.candidates, 1 / (1 + self.divergences))

    def runners_up(self) -> Int64[Tensor, " Q"]:
        """Return the class that came second; the winner itself where it was the only candidate."""
        if self.candidates.shape[1] < 2:
            return self.labels
        order = self.divergences.argsort(dim=1, stable=True)
        return self.candidates.gather(1, order[:, 1:2])[:, 0]


def reference_scores(
    features: Float[Tensor, "Q D"],
    references: Float[Tensor, "K R D"],
    *,
    over_references: Reduction = "nearest",
) -> Float[Tensor, "Q K"]:
    """Score every class for every feature by the cosine to its references.

    Args:
        features: Need not have unit length; a zero row scores 0 everywhere.
        references: R references a class. A class with fewer repeats some of its own: the nearest is the same.
        over_references: The nearest reference of a class counts, or the mean of all of them.
    """
    rows = normalize(rearrange(references, "k r d -> (k r) d"), dim=-1)
    cosines = normalize(features, dim=-1) @ rows.T
    how = "max" if over_references == "nearest" else "mean"
    return reduce(cosines, "q (k r) -> q k", how, r=references.shape[1])


def match_regions(
    region_scores: Float[Tensor, "Q K"],
    class_profiles: Float[Tensor, "K R K"],
    *,
    ranking: Ranking = "plackett_luce",
    temperature: float = 0.1,
    num_candidates: int | None = 5,
    kind: Divergence = "kl",
    over_references: Reduction = "nearest",
    standardise_candidates: bool = False,
) -> RegionMatch:
    """Assign every region the class whose references rank the classes as the region does.

    A label depends on the scores of the candidates alone: a class that is no candidate of a region may be
    added to the others or taken away.

    Args:
        region_scores: Score of every class for every region, from ``reference_scores``.
        class_profiles: Score of every class for every reference: how a thing of that class ranks the classes.
            If one side is standardised, so must be the other.
        ranking: Distribution over full orders of the candidates, over who comes first, or the plain
            best score.
        temperature: Divides the scores; the smaller, the more a ranking is about order alone.
        num_candidates: Only the region's best so many classes are compared, and only on their scores for
            each other; None for all (``top_one`` and ``cosine`` only, or few classes).
        kind: How two distributions are compared.
        over_references: A class is as far as its nearest reference, or as the mean of them.
        standardise_candidates: Bring the candidates' scores to mean 0 and deviation 1 first, those of the region
            and those of every reference. Of two candidates only the order is left then, so that with two
            (or two classes in all) the result is that of ``cosine`` wherever references rank their own class first.

    Raises:
        InputError: No class, too many candidates for full orders, or a temperature that is not above zero.
    """
    num_classes = region_scores.shape[1]
    if num_classes == 0:
        raise InputError(
            doing="matching regions with classes",
            found="no class",
            expected="one class or more",
            fix="Name the classes to find, and give a reference bank that has them.",
        )
    best = region_scores.argmax(dim=1)
    num_candidates = num_classes if num_candidates is None else min(max(1, num_candidates), num_classes)
    # A stable sort, not topk: among equal scores the earlier class comes first on every machine.
    candidates = region_scores.argsort(dim=1, descending=True, stable=True)[:, :num_candidates]
    # Compare only the candidates, on their scores for each other.
    own = region_scores.gather(1, candidates)
    if ranking == "cosine":
        divergences = own[:, :1] - own
    elif ranking == "top_one" and num_candidates == num_classes and not standardise_candidates:
        per_reference = _top_one_of_all(own, candidates, class_profiles, temperature, kind)
        divergences = _over_references(per_reference, over_references)
    else:
        log_probabilities = (
            ranking_log_probabilities if ranking == "plackett_luce" else top_one_log_probabilities
        )
        # For every candidate and each of its references, the scores of all candidates.
        profiles = class_profiles[candidates[:, :, None], :, candidates[:, None, :]]
        profiles = rearrange(profiles, "q m n r -> q m r n")
        if standardise_candidates:
            own, profiles = standardise(own), standardise(profiles)
        regions = log_probabilities(own, temperature)[:, None, None, :]
        per_reference = divergence(regions, log_probabilities(profiles, temperature), kind)
        divergences = _over_references(per_reference, over_references)
    # The nearest class wins.
    winner = divergences.argmin(dim=1, keepdim=True)
    return RegionMatch(
        labels=candidates.gather(1, winner)[:, 0],
        candidates=candidates,
        divergences=divergences,
        best_by_score=best,
    )


def _top_one_of_all(
    scores: Float[Tensor, "Q K"],
    classes: Int64[Tensor, "Q K"],
    class_profiles: Float[Tensor, "K R K"],
    temperature: float,
    kind: Divergence,
) -> Float[Tensor, "Q K R"]:
    """Compare who comes first among all classes; KL is a matrix product, so hundreds of classes are cheap."""
    num_references = class_profiles.shape[1]
    # Back to the order of the vocabulary, so that one set of profiles serves all regions.
    back = classes.argsort(dim=1)
    region = top_one_log_probabilities(scores.gather(1, back), temperature)
    profiles = top_one_log_probabilities(rearrange(class_profiles, "k r n -> (k r) n"), temperature)
    # Jensen-Shannon in chunks of regions; KL(p, q) = sum p log p - sum p log q, one matrix product.
    if kind == "jensen_shannon":
        rows = max(1, _CHUNK // max(1, profiles.numel()))
        parts = [divergence(part[:, None], profiles[None], kind) for part in torch.split(region, rows)]
        compared = torch.cat(parts) if parts else region.new_zeros(0, len(profiles))
    elif kind == "kl":
        compared = _neg_entropy(region)[:, None] - region.exp() @ profiles.T
    else:
        compared = _neg_entropy(profiles)[None] - region @ profiles.exp().T
    # To candidates in order of score again.
    compared = rearrange(compared.clamp(min=0), "q (k r) -> q k r", r=num_references)
    return compared.gather(1, classes[:, :, None].expand(-1, -1, num_references))


def _over_references(values: Float[Tensor, "Q m R"], over_references: Reduction) -> Float[Tensor, "Q m"]:
    return reduce(values, "q m r -> q m", "min" if over_references == "nearest" else "mean")


def _neg_entropy(log_probabilities: Float[Tensor, "N n"]) -> Float[Tensor, " N"]:
    return (log_probabilities.exp() * log_probabilities).sum(dim=-1)
