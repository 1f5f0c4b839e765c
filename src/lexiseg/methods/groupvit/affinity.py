"""Name segments: how well each class fits each segment, and which segments are background."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def name_similarities(
    vectors: Float[Tensor, "*b D"], names: Float[Tensor, "S D"], counts: Sequence[int], synonyms: str
) -> Float[Tensor, "*b K"]:
    """Compute the cosine of vectors with classes; of several names the largest or the mean counts.

    Args:
        vectors: Not normalised.
        names: Unit rows; the names of a class are neighbours.
        counts: Names of each class.
        synonyms: ``max`` or ``mean``.
    """
    cosines = normalize(vectors.float(), dim=-1) @ rearrange(names.float(), "s d -> d s")
    if all(count == 1 for count in counts):
        return cosines
    reduce = torch.amax if synonyms == "max" else torch.mean
    return torch.stack([reduce(part, dim=-1) for part in torch.split(cosines, list(counts), dim=-1)], dim=-1)


def class_affinity(
    segments: Float[Tensor, "*b G K"],
    image: Float[Tensor, "*b K"],
    scale: Float[Tensor, ""],
    kept_classes: int,
) -> Float[Tensor, "*b G K"]:
    """Compute the affinity of segments and classes, in [0, 1].

    The probability of a class among all, times its probability among the few classes that the image as a whole
    is most similar to; 0 for the others.

    Args:
        segments: Cosines of segments with classes.
        image: Cosines of the whole image with classes.
        scale: What cosines are multiplied by.
        kept_classes: How many classes are kept; all of them where there are fewer.
    """
    logits = segments * scale
    kept = image.topk(min(kept_classes, image.shape[-1]), dim=-1).indices
    refused = torch.ones_like(image, dtype=torch.bool).scatter(-1, kept, False)
    among_kept = logits.masked_fill(rearrange(refused, "... k -> ... 1 k"), -torch.inf)
    return logits.softmax(dim=-1) * among_kept.softmax(dim=-1)


def kept_up_to(affinity: Float[Tensor, "G K"]) -> Float[Tensor, " G"]:
    """Compute the threshold up to which each segment is not background: its best affinity.

    A threshold counts at most as the largest affinity of the window, so that the segment which has it is never
    background: it is kept up to 1.
    """
    best = affinity.amax(dim=1)
    return torch.where(best == best.max(), torch.ones_like(best), best)
