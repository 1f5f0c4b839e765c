"""Complementary loss: the union of the tagged masks against the complement of the known masks.

Chen et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer", NeurIPS 2022. The union of
the masks predicted for tags without a mask is compared with the complement of the known masks.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lexiseg.losses.mask import focal_and_dice

#: Logit of the "ignore proposal" that the union always holds, as the release writes it: probability 0.05.
GATE = -2.9444


class ComplementaryLoss(nn.Module):
    """``focal_weight * focal + dice_weight * dice`` between the union and what is left over.

    Where every tagged mask is less likely than the gate, the gate is the union and no gradient flows:
    a pixel that no tagged mask claims at all is left in peace.

    Args:
        gate: Logit of the gate; None for none.
        gate_learnable: Train the gate's logit.
        padding_is_negative: Padding counts as pixels the union should not cover, as in the release;
            otherwise it does not count.
        focal_weight: Weight of the focal loss, 0 or more.
        dice_weight: Weight of the dice loss, 0 or more.
    """

    gate: Tensor | None

    def __init__(
        self,
        *,
        gate: float | None = GATE,
        gate_learnable: bool = False,
        padding_is_negative: bool = True,
        focal_weight: float = 20.0,
        dice_weight: float = 1.0,
    ) -> None:
        super().__init__()
        assert gate is not None or not gate_learnable, "no gate to learn"
        if gate is None:
            self.gate = None
        elif gate_learnable:
            self.gate = nn.Parameter(torch.tensor(gate))
        else:
            self.register_buffer("gate", torch.tensor(gate), persistent=False)
        self.padding_is_negative = padding_is_negative
        self.focal_weight, self.dice_weight = focal_weight, dice_weight

    def forward(
        self,
        logits: Float[Tensor, "L T H W"],
        known: Bool[Tensor, "H W"],
        padding: Bool[Tensor, "H W"] | None = None,
    ) -> Float[Tensor, ""]:
        """Compute the loss of one image, a sum over layers.

        Args:
            logits: Mask logits of the queries matched to its tags without a mask, at least one, by
                every layer of the decoder.
            known: Pixels that some mask claims.
            padding: Pixels that are no part of the image.
        """
        union = rearrange(logits.amax(dim=1), "l h w -> l (h w)")
        if self.gate is not None:
            union = torch.where(union > self.gate, union, self.gate)
        left_over = ~known.flatten()
        if padding is not None:
            inside = ~padding.flatten()
            left_over = left_over & inside
            if not self.padding_is_negative:
                union, left_over = union[:, inside], left_over[inside]
        focal, dice = focal_and_dice(union, repeat(left_over, "p -> l p", l=len(union)))
        return (self.focal_weight * focal + self.dice_weight * dice).sum()
