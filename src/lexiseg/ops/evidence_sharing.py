"""Let a network that knows some names decide between the words that mean them, and take from nobody else.

Words have scores from somewhere; for some of them there is further evidence, name by name. Nothing here is learnt.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def keep_best_match(matches: Float[Tensor, "S K"]) -> Float[Tensor, "S K"]:
    """Let each name speak for the word that it matches best, and for those that match as well; zero for the others.

    Args:
        matches: Of words with names, not negative; 0 where a word does not mean a name.
    """
    return matches * (matches == matches.amax(dim=0, keepdim=True))


def defer_to_scores(
    seen: Float[Tensor, "B S h w"], scores: Float[Tensor, "B S h w"], own_share: float
) -> Float[Tensor, "B S h w"]:
    """Share the evidence for a group of words among them, partly as it was seen, the rest in proportion to their scores.

    How much all of them have together is what was seen of all; with ``own_share`` 0 their order is that of the scores.
    Where none has a score the rest is lost.

    Args:
        seen: Evidence, not negative.
        scores: What the words had, not negative; 0 for those that are not of the group.
        own_share: 0..1.
    """
    total = scores.sum(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    by_scores = scores / total * seen.sum(dim=1, keepdim=True)
    return own_share * seen + (1 - own_share) * by_scores


def share_anew(scores: Float[Tensor, "B S h w"], seen: Float[Tensor, "B S h w"]) -> Float[Tensor, "B S h w"]:
    """Share among words, patch by patch, what the best of them had, in proportion to their scores and what was seen.

    The highest score of a patch stays as high as it was. So a word that is not among these wins the patches that it won,
    whatever was seen, and so does a background by threshold: a head that knows some names cannot drown
    the others. Where no word had a score, all keep none.

    Args:
        scores: What the words had, not negative.
        seen: Evidence for them, not negative, on the scale of ``scores``.
    """
    both = scores + seen
    best = both.amax(dim=1, keepdim=True).clamp(min=torch.finfo(both.dtype).tiny)
    return both * (scores.amax(dim=1, keepdim=True) / best)
