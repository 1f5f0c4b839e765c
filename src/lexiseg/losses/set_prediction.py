"""Set prediction: bipartite matching of proposals and targets, and the losses of the matched pairs.

Carion et al. (DETR, ECCV 2020) for the matching, Cheng et al. (MaskFormer, NeurIPS 2021) for masks in the place of
boxes and for the weights, Chen et al. (SimFormer, NeurIPS 2022) for targets that have a label but no mask: they
are matched by their class alone, jointly with the others, and take no part in the mask losses.

Every decoder layer is matched and supervised for itself (auxiliary losses).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy, interpolate
from torch.nn.utils.rnn import pad_sequence

from lexiseg.losses.mask import focal_and_dice, pairwise_focal_and_dice
from lexiseg.ops.gather import mean_over_devices
from lexiseg.ops.matching import Assignment, assign


@dataclass(frozen=True, kw_only=True)
class SetTargets:
    """Targets of one image.

    Attributes:
        labels: Class index of every target; there may be none.
        masks: Binary mask of every target; all False where there is no mask.
        has_mask: Whether a target has a mask; False for a tag, whose place in the image is not known.
    """

    labels: Int64[Tensor, " M"]
    masks: Bool[Tensor, "M H W"]
    has_mask: Bool[Tensor, " M"]


@dataclass(frozen=True, kw_only=True)
class SetWeights:
    """Matching-cost weights.

    Attributes:
        classification: Weight of the class probability, 0 or more.
        focal: Weight of the focal loss, 0 or more.
        dice: Weight of the dice loss, 0 or more.
    """

    classification: float = 1.0
    focal: float = 20.0
    dice: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SetLosses:
    """Unweighted losses, summed over the layers.

    Attributes:
        classification: Cross-entropy of the classes of all proposals.
        focal: Focal loss of the matched masks, divided by their number.
        dice: Dice loss of the matched masks, divided by their number.
    """

    classification: Float[Tensor, ""]
    focal: Float[Tensor, ""]
    dice: Float[Tensor, ""]


def match(
    class_logits: Float[Tensor, "B Q C1"],
    mask_logits: Float[Tensor, "B Q h w"],
    targets: Sequence[SetTargets],
    weights: SetWeights | None = None,
) -> list[Assignment]:
    """Match the proposals of one layer; see ``match_layers``."""
    return match_layers(class_logits[None], mask_logits[None], targets, weights)[0]


@torch.no_grad()
def match_layers(
    class_logits: Float[Tensor, "L B Q C1"],
    mask_logits: Float[Tensor, "L B Q h w"],
    targets: Sequence[SetTargets],
    weights: SetWeights | None = None,
) -> list[list[Assignment]]:
    """Match every target of every image to a proposal of its own, in every layer.

    A proposal costs a target minus the probability of its class, plus focal and dice loss of the mask at the size of
    ``mask_logits`` (nearest pixels of the target). A target without a mask costs the first part only. All targets
    of an image are matched jointly: a tag does not take a proposal that a mask needs more.

    Returns:
        For each layer and image the proposals and the targets they got. A target is named by its place in
        ``labels``, whatever becomes of its mask at the smaller size.
    """
    weights = weights or SetWeights()
    counts = [len(target.labels) for target in targets]
    num_layers = len(class_logits)
    if max(counts, default=0) == 0:
        nothing = torch.zeros(0, dtype=torch.int64)
        return [[(nothing, nothing) for _ in counts] for _ in range(num_layers)]
    labels = pad_sequence([target.labels for target in targets], batch_first=True)
    masks = pad_sequence(
        [_shrink(target.masks, mask_logits.shape[-2:]) for target in targets], batch_first=True
    )
    has_mask = pad_sequence([target.has_mask for target in targets], batch_first=True)
    # In full precision also where the network runs in half: sums over pixels decide between proposals.
    with torch.autocast(class_logits.device.type, enabled=False):
        masks = masks.float()
        costs = torch.stack(
            [
                _costs(classes.float(), logits.flatten(2).float(), labels, masks, has_mask, weights)
                for classes, logits in zip(class_logits, mask_logits, strict=True)
            ]
        )
    found = assign(rearrange(costs, "l b q m -> (l b) q m"), counts * num_layers)
    return [found[start : start + len(counts)] for start in range(0, len(found), len(counts))]


def set_losses(
    class_logits: Float[Tensor, "L B Q C1"],
    mask_logits: Float[Tensor, "L B Q h w"],
    targets: Sequence[SetTargets],
    assignments: Sequence[Sequence[Assignment]],
    *,
    no_object: float = 0.1,
) -> SetLosses:
    """Compute the losses of the proposals of all layers against their matched targets.

    Classes: cross-entropy, a mean weighted with ``no_object`` for proposals without a target and one for the
    others. Masks: the logits of proposals whose target has a mask, upsampled to its size; the sum of each loss
    is divided by the number of masks in the batch, a mean over devices and at least one. Pixels of no
    target are outside every mask.

    Args:
        class_logits: The last column is "no object".
        mask_logits: At any size.
        targets: One an image, all of one size of masks.
        assignments: From ``match_layers``.
        no_object: Weight of the cross-entropy of proposals without a target.
    """
    device = class_logits.device
    labels = torch.cat([target.labels for target in targets]).cpu()
    has_mask = torch.cat([target.has_mask for target in targets]).cpu()
    masks = torch.cat([target.masks for target in targets])
    count = mean_over_devices(has_mask.sum().to(device, torch.float32)).clamp(min=1)

    wanted = torch.full(class_logits.shape[:-1], class_logits.shape[-1] - 1, dtype=torch.int64)
    focal = dice = torch.zeros((), device=device)
    for layer, of_images in enumerate(assignments):
        images, queries, rows = _pairs(of_images, targets)
        wanted[layer, images, queries] = labels[rows]
        seen = has_mask[rows]
        logits = mask_logits[layer, images[seen].to(device), queries[seen].to(device)]
        by_focal, by_dice = _mask_losses(logits.float(), masks[rows[seen].to(device)])
        focal, dice = focal + by_focal / count, dice + by_dice / count

    importance = class_logits.new_ones(class_logits.shape[-1])
    importance[-1] = no_object
    # Layers match equally many proposals, so the weighted mean over all is the mean of their means.
    by_class = cross_entropy(class_logits.flatten(0, 2), wanted.flatten().to(device), importance)
    return SetLosses(classification=len(class_logits) * by_class, focal=focal, dice=dice)


def multiple_instance_loss(
    class_logits: Float[Tensor, "L B Q C1"], targets: Sequence[SetTargets]
) -> Float[Tensor, ""]:
    """Compute the binary cross-entropy of every class's largest probability over the proposals.

    An image is a bag of proposals: a class that it shows, by a mask or a tag, is to be the answer of one at
    least, any other class of none (multiple-instance learning). Mean over images and classes, summed over layers.

    Args:
        class_logits: The last column is "no object".
        targets: One an image.
    """
    num_classes = class_logits.shape[-1] - 1
    shown = class_logits.new_zeros((len(targets), num_classes))
    for row, target in enumerate(targets):
        shown[row, target.labels] = 1
    with torch.autocast(class_logits.device.type, enabled=False):  # a GPU refuses this one in half precision
        best = class_logits.float().softmax(dim=-1)[..., :-1].amax(dim=2).clamp(max=1 - 1e-6)
        losses = [binary_cross_entropy(of_layer, shown.float()) for of_layer in best]
    return torch.stack(losses).sum()


def _costs(
    class_logits: Float[Tensor, "B Q C1"],
    mask_logits: Float[Tensor, "B Q P"],
    labels: Int64[Tensor, "B M"],
    masks: Float[Tensor, "B M P"],
    has_mask: Bool[Tensor, "B M"],
    weights: SetWeights,
) -> Float[Tensor, "B Q M"]:
    each_query = repeat(labels, "b m -> b q m", q=class_logits.shape[1])
    by_class = -class_logits.softmax(dim=-1).gather(2, each_query)
    by_mask = pairwise_focal_and_dice(mask_logits, masks, focal=weights.focal, dice=weights.dice)
    return weights.classification * by_class + by_mask * has_mask[:, None, :]


def _shrink(masks: Bool[Tensor, "M H W"], size: Sequence[int]) -> Bool[Tensor, "M P"]:
    """Downsample by the nearest pixel, the first of equals, as ``interpolate(mode="nearest")`` does."""
    rows, columns = (
        torch.arange(new, device=masks.device) * old // new
        for old, new in zip(masks.shape[-2:], size, strict=True)
    )
    return masks[:, rows[:, None], columns[None, :]].flatten(1)


def _pairs(
    assignments: Sequence[Assignment], targets: Sequence[SetTargets]
) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Write the pairs of all images in one list: image, proposal, target counted through the batch."""
    images = [torch.full_like(queries, image) for image, (queries, _) in enumerate(assignments)]
    first, rows = 0, []
    for target, (_, own) in zip(targets, assignments, strict=True):
        rows.append(first + own)
        first += len(target.labels)
    return torch.cat(images), torch.cat([queries for queries, _ in assignments]), torch.cat(rows)


def _mask_losses(
    logits: Float[Tensor, "N h w"], masks: Bool[Tensor, "N H W"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    if not len(masks):
        return logits.sum(), logits.sum()  # zero, with a gradient: the parameters take part on every device
    whole = interpolate(logits[:, None], size=masks.shape[-2:], mode="bilinear", align_corners=False)
    focal, dice = focal_and_dice(whole.flatten(1), masks.flatten(1))
    return focal.sum(), dice.sum()
