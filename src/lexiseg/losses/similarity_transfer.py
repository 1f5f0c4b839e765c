"""Pixel-pixel similarity: learnt where masks are, transferred to where none are.

Chen et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer", NeurIPS 2022. SimNet learns
from pixels with a mask whether two pixels show the same class (``similarity_loss``); its answer on
pixels without one teaches how similar their scores for the unseen classes are (``distillation_loss``).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

#: Steps over which pairs are counted.
BALANCE_STEPS = 25

#: Range that probabilities are clamped to by the form "ce".
_SMALLEST, _LARGEST = 0.01, 0.99


def pair_targets(
    first: Int64[Tensor, "P I"],
    second: Int64[Tensor, "P J"],
    first_tags: Bool[Tensor, "P K"],
    second_tags: Bool[Tensor, "P K"],
    *,
    unlabelled_differ: bool = True,
) -> tuple[Bool[Tensor, "P I J"], Bool[Tensor, "P I J"]]:
    """Return which pairs of pixels have the same label, and for which that is known.

    Args:
        first: Labels; ``K`` or more where there is no mask.
        second: Labels of the other image.
        first_tags: Classes that the image of ``first`` shows without a mask of them.
        second_tags: Classes that the image of ``second`` shows without a mask of them.
        unlabelled_differ: Take pixels with a mask beside pixels without one; otherwise both need masks.

    Returns:
        Whether the labels are equal, and whether that is known. Of two pixels without a mask nothing is
        known. A pixel with a mask and one without are of different classes, unless the image of the
        second shows that class without a mask, as images that have tags only do.
    """
    num_classes = first_tags.shape[1]
    columns, rows = rearrange(first, "p i -> p i 1"), rearrange(second, "p j -> p 1 j")
    labelled, also_labelled = columns < num_classes, rows < num_classes
    if not unlabelled_differ:
        return columns == rows, labelled & also_labelled
    maybe_in_second = second_tags.gather(1, first.clamp(max=num_classes - 1))[:, :, None]
    maybe_in_first = first_tags.gather(1, second.clamp(max=num_classes - 1))[:, None]
    valid = (labelled & (also_labelled | ~maybe_in_second)) | (also_labelled & (labelled | ~maybe_in_first))
    return columns == rows, valid


def balance_weights(
    positives: Float[Tensor, ""], negatives: Float[Tensor, ""]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the weights of pairs that are alike and of those that are not: the share of the other kind.

    Both are 0 where there is no pair: images without masks say nothing of any.
    """
    total = (positives + negatives).clamp(min=1)
    return negatives / total, positives / total


class PairBalance(nn.Module):
    """Counts of pairs over the last steps. They are buffers, so that a resumed run goes on with them.

    All pairs of a step are counted. The release counts every fifth row and column; points come in an order, those
    of the common class first, so that this says something else than all pairs do unless their number is a multiple
    of 25 (of 10 points an image it counts two, both of the common class).
    """

    counts: Tensor
    position: Tensor

    def __init__(self) -> None:
        super().__init__()
        counts = torch.zeros(BALANCE_STEPS, 2)
        counts[0] = 1
        self.register_buffer("counts", counts)
        self.register_buffer("position", torch.ones((), dtype=torch.int64))

    def forward(
        self, same: Bool[Tensor, "P I J"], valid: Bool[Tensor, "P I J"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Count the pairs of a step and return the weights of pairs that are alike, and that are not."""
        alike = same & valid
        new = torch.stack([alike.sum(), (valid & ~alike).sum()]).to(self.counts)
        slot = F.one_hot(self.position % BALANCE_STEPS, BALANCE_STEPS).bool()
        self.counts.copy_(torch.where(slot[:, None], new, self.counts))
        self.position += 1
        positives, negatives = self.counts.sum(dim=0)
        return balance_weights(positives, negatives)


def similarity_loss(
    logits: Float[Tensor, "P I J"],
    same: Bool[Tensor, "P I J"],
    valid: Bool[Tensor, "P I J"],
    weights: tuple[Float[Tensor, ""], Float[Tensor, ""]],
) -> Float[Tensor, ""]:
    """Compute the balanced binary cross-entropy of "same class", mean over valid pairs; 0 without any."""
    weight = torch.where(same, weights[0], weights[1]) * valid
    losses = F.binary_cross_entropy_with_logits(logits, same.to(logits.dtype), weight=weight, reduction="sum")
    return losses / valid.sum().clamp(min=1)


def score_similarity(first: Float[Tensor, "P I K"], second: Float[Tensor, "P J K"]) -> Float[Tensor, "P I J"]:
    """Compute the cosines of the class scores of pixels; scores are not negative, so they are in [0, 1]."""
    cosines = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).mT
    return cosines.clamp(0, 1)


def centred_cosine(first: Float[Tensor, "P I D"], second: Float[Tensor, "P J D"]) -> Float[Tensor, "P I J"]:
    """Compute cosines of embeddings, mapped to [0, 1]: a teacher of similarity that has learnt nothing.

    The mean over the pixels of both images is taken off first: it is common to all of them and says nothing
    of any pair. One half is then what pixels without a relation have.
    """
    mean = torch.cat([first, second], dim=1).mean(dim=1, keepdim=True)
    cosines = F.normalize(first - mean, dim=-1) @ F.normalize(second - mean, dim=-1).mT
    return ((1 + cosines) / 2).clamp(0, 1)


def distillation_loss(
    teacher: Float[Tensor, "P I J"],
    student: Float[Tensor, "P I J"],
    active: Bool[Tensor, " P"],
    form: Literal["cce", "ce"] = "cce",
) -> Float[Tensor, ""]:
    """Compute the distillation loss between the teacher's and the student's pixel similarities.

    A mean over active pairs of images.

    Args:
        teacher: Probabilities of "same class"; no gradient goes there.
        student: Similarities in [0, 1].
        active: Pairs of images that take part; 0 without any.
        form: ``ce``: cross-entropy, both clamped to [0.01, 0.99]. ``cce``: only the part of the
            probability above or below one half counts; 0 at one half, between -0.347 and 0.
    """
    teacher = teacher.detach()
    if form == "cce":
        alike, unlike = (teacher - 0.5).clamp(min=0), (0.5 - teacher).clamp(min=0)
        losses = -alike * torch.log1p(student) - unlike * torch.log(2 - student)
    else:
        clamped, wanted = (each.float().clamp(_SMALLEST, _LARGEST) for each in (student, teacher))
        with torch.autocast(student.device.type, enabled=False):  # a GPU refuses this one in half precision
            losses = F.binary_cross_entropy(clamped, wanted, reduction="none")
    of_pair = losses.mean(dim=(1, 2)) * active
    return of_pair.sum() / active.sum().clamp(min=1)
