"""From proposals to a score for every class and pixel."""

import torch
from jaxtyping import Float
from torch import Tensor


def semantic_scores(
    class_logits: Float[Tensor, "B Q C1"], mask_logits: Float[Tensor, "B Q h w"]
) -> Float[Tensor, "B C h w"]:
    """Sum over proposals the probability of each class times the probability of the mask.

    MaskFormer's semantic inference (Cheng et al., NeurIPS 2021). The last column, "no object", takes part
    in the softmax and then drops out, so that unsure proposals count little. Values lie in [0, Q].

    Args:
        class_logits: The last column is "no object".
        mask_logits: Any size.
    """
    classes = class_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", classes, mask_logits.sigmoid())
