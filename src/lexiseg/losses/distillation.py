"""Losses by which a dense network takes over the space of an image-text model.

CLIP-to-Seg Distillation (anonymous ICLR 2025 submission; IEEE TCSVT 2025) and its precursor CLIP-ZSS (arXiv
2310.02296); InfoNCE: van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018.
The non-exclusive loss is ZegCLIP's (Zhou et al., CVPR 2023), on the focal and dice losses of ``losses.mask``.

All compute in float32 at least, under autocast too. Gradients reach what the student made, never the teacher's side.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from lexiseg.losses.mask import focal_and_dice


def condense(
    maps: Float[Tensor, "B D h w"],
    vectors: Float[Tensor, "B D"],
    *,
    temperature: float | None = None,
    excluded: Bool[Tensor, "B h w"] | None = None,
) -> Float[Tensor, "B D"]:
    """Compute the mean of an image's features, weighted by how well each fits the image's vector.

    Args:
        maps: The student's features.
        vectors: The teacher's, of the images.
        temperature: Weights are a softmax over cosines divided by this; None takes a softmax over inner
            products of the vectors as they are, divided by the root of their length, as the paper writes it.
            With unit vectors the latter would be a plain mean: its weights differ by 9 % at most for 512.
        excluded: Positions that are no part of the image; never all of an image.
    """
    compared, asked = maps.float(), vectors.detach().float()
    if temperature is None:
        scale = asked.shape[1] ** -0.5
    else:
        compared, asked, scale = normalize(compared, dim=1), normalize(asked, dim=1), 1 / temperature
    fits = einsum(compared, asked, "b d h w, b d -> b h w") * scale
    if excluded is not None:
        fits = fits.masked_fill(excluded, -torch.inf)
    weights = rearrange(fits, "b h w -> b (h w)").softmax(dim=1)
    return einsum(weights, rearrange(maps.float(), "b d h w -> b (h w) d"), "b n, b n d -> b d")


def info_nce(
    students: Float[Tensor, "P D"],
    teachers: Float[Tensor, "P D"],
    *,
    temperature: float = 0.07,
    negatives: Float[Tensor, "M D"] | None = None,
    excluded: Bool[Tensor, "P Q"] | None = None,
) -> Float[Tensor, ""]:
    """Ask each student vector for its own among all teacher vectors and the further negatives; a mean.

    With K negatives, ``ln(K + 1)`` where the student says nothing. 0, with a gradient, for no vector at all.

    Args:
        students: Of any length.
        teachers: Row i belongs to student i; of any length.
        temperature: What cosines are divided by.
        negatives: Further teacher vectors; they are nobody's own.
        excluded: Pairs of a student and a teacher vector (``Q`` = ``P + M``) that say nothing. The pair of a
            student and its own must not be among them.
    """
    if not len(students):
        return students.sum() * 0
    offered = teachers if negatives is None else torch.cat([teachers, negatives.to(teachers)])
    asked = normalize(students.float(), dim=1)
    logits = asked @ normalize(offered.detach().float(), dim=1).T / temperature
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    return cross_entropy(logits, torch.arange(len(students), device=logits.device))


def text_space_loss(embeddings: Float[Tensor, "P D"], texts: Float[Tensor, "P D"]) -> Float[Tensor, ""]:
    """Ask that an embedding has a large inner product with the text of its own class and with no other's; a mean.

    0, with a gradient, for no class at all.
    """
    if not len(embeddings):
        return embeddings.sum() * 0
    logits = texts.detach().float() @ embeddings.float().T
    return binary_cross_entropy_with_logits(logits, torch.eye(len(logits), device=logits.device))


def non_exclusive_loss(
    logits: Float[Tensor, "B K h w"], labels: Int64[Tensor, "B h w"], *, focal: float, dice: float
) -> Float[Tensor, ""]:
    """Compute the loss of every class for itself, without a softmax: focal over all, dice over those that occur.

    Args:
        logits: Of the sigmoids.
        labels: Below ``K``; anything else is void and left out, here and in every mean.
        focal: Weight of the focal part, a mean over classes and positions.
        dice: Weight of the dice part, a mean over the classes that ``labels`` shows.

    Returns:
        0, with a gradient, where all is void.
    """
    num_classes = logits.shape[1]
    shown = labels < num_classes
    if not shown.any():
        return logits.sum() * 0
    at_shown = rearrange(logits, "b k h w -> k b h w")[:, shown].float()
    classes = torch.arange(num_classes, device=labels.device)
    masks = labels[shown] == classes[:, None]
    by_focal, by_dice = focal_and_dice(at_shown, masks)
    occurring = masks.any(dim=1)
    return focal * by_focal.mean() + dice * by_dice[occurring].mean()


def exclusive_loss(logits: Float[Tensor, "B K h w"], labels: Int64[Tensor, "B h w"]) -> Float[Tensor, ""]:
    """Compute the cross-entropy over classes, a mean over positions that are not void; 0 where all is void."""
    shown = labels < logits.shape[1]
    if not shown.any():
        return logits.sum() * 0
    return cross_entropy(logits.float(), labels.masked_fill(~shown, -100))


class VectorBank(nn.Module):
    """The last vectors that were pushed, oldest first out. Part of what a checkpoint holds.

    Args:
        size: Vectors that are kept; 0 keeps none.
        width: Length of a vector.
    """

    entries: Tensor
    pushed: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("entries", torch.zeros(size, width))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Float[Tensor, "M D"]:
        """Return the vectors that are in it, in no particular order; none at the beginning."""
        return self.entries[: min(int(self.pushed), len(self.entries))].clone()

    @torch.no_grad()
    def push(self, vectors: Float[Tensor, "B D"]) -> None:
        """Put vectors in, without gradient, in place of the oldest."""
        size = len(self.entries)
        if not size:
            return
        count = len(vectors)
        first = max(0, count - size)  # of more than fit, the last stay
        places = (int(self.pushed) + torch.arange(first, count, device=self.entries.device)) % size
        self.entries[places] = vectors[first:].detach().to(self.entries)
        self.pushed += count
