"""The multi-label contrastive loss of GroupViT: an image against several sentences that belong to it.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Rows of the similarity matrix that are worked on at a time.
_BLOCK = 256

#: How an image's own sentences are asked for: all of them, or any.
Positives = Literal["mean_of_logs", "log_of_sum"]


class LogitScale(nn.Module):
    """What similarities are multiplied by, learned as a logarithm and capped when used.

    Above the cap its gradient is zero.

    Args:
        initial: First value of the scale itself; GroupViT starts at 1 / 0.07.
        highest: Cap of the scale.
    """

    def __init__(self, initial: float = 1 / 0.07, *, highest: float = 100.0) -> None:
        super().__init__()
        assert 0 < initial <= highest, f"a scale of {initial} with a cap of {highest}"
        self.log = nn.Parameter(torch.tensor(float(initial)).log())
        self.highest = highest

    def forward(self) -> Float[Tensor, ""]:
        """Return the scale as it is used."""
        return capped_scale(self.log, self.highest)


def capped_scale(log_scale: Float[Tensor, ""], highest: float = 100.0) -> Float[Tensor, ""]:
    """Return the exponential of a learned logarithm, ``highest`` at most."""
    return log_scale.exp().clamp(max=highest)


def multi_label_loss(
    images: Float[Tensor, "B D"],
    words: Float[Tensor, "B K D"],
    logit_scale: Float[Tensor, ""],
    positives: Positives = "mean_of_logs",
) -> Float[Tensor, ""]:
    """Ask every image for its ``K`` sentences among all, and every sentence for its image; the mean of both.

    With ``K = 1`` it is ``contrastive_loss``. Works on blocks of rows and keeps none of them, so that memory
    grows with ``B``, not with its square; in float32 at least, under autocast too.

    Args:
        images: Unit rows.
        words: Unit rows; those of row i belong to image i.
        logit_scale: What similarities are multiplied by.
        positives: ``mean_of_logs`` averages the logarithms of an image's own probabilities (the released
            code: all of them should be high; the image side is never below log K), ``log_of_sum`` takes
            the logarithm of their sum (the paper: one high one will do).
    """
    at_least_single = torch.promote_types(images.dtype, torch.float32)
    flat = rearrange(words, "b k d -> (b k) d").to(at_least_single)
    compare: Callable[[Tensor, Tensor, Tensor, bool], Tensor] = _MultiLabel.apply
    # Autocast would round similarities to half precision before they are scaled, and those of the backward
    # pass, outside of it, would be others.
    with torch.autocast(images.device.type, enabled=False):
        return compare(images.to(at_least_single), flat, logit_scale, positives == "log_of_sum")


class _MultiLabel(torch.autograd.Function):
    """The closed form.

    With row shares p, column shares q and shares r among an image's own sentences (1 / K for the mean of
    logarithms), the gradient of the logit of an image and its own sentence is (p - r) / 2B + (q - 1) / 2BK,
    and with any other sentence p / 2B + q / 2BK.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, words: Tensor, scale: Tensor, any_will_do: bool) -> Tensor:
        num_images, per_image = len(images), len(words) // len(images)
        own = (rearrange(words, "(b k) d -> b k d", k=per_image) @ images[:, :, None])[:, :, 0] * scale
        rows = images.new_empty(num_images)
        columns = images.new_full((len(words),), -torch.inf)
        for block in _blocks(num_images):
            logits = images[block] @ words.T * scale
            rows[block] = logits.logsumexp(1)
            columns = torch.logaddexp(columns, logits.logsumexp(0))
        among = own.softmax(1) if any_will_do else torch.full_like(own, 1 / per_image)
        wanted = own.logsumexp(1) if any_will_do else own.mean(1)
        ctx.save_for_backward(images, words, scale, rows, columns, among)
        return 0.5 * ((rows - wanted).mean() + (columns - own.flatten()).mean())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        images, words, scale, rows, columns, among = ctx.saved_tensors
        num_images, per_image = among.shape
        of_images, of_words = torch.empty_like(images), torch.zeros_like(words)
        of_scale = torch.zeros_like(scale)
        factor = gradient / (2 * num_images)
        for block in _blocks(num_images):
            similarities = images[block] @ words.T
            logits = similarities * scale
            share = (logits - rows[block, None]).exp_() + (logits - columns).exp_() / per_image
            # The block's own sentences lie on a diagonal of 1 × K cells.
            size = block.stop - block.start
            square = share[:, block.start * per_image : block.stop * per_image]
            cells = rearrange(square, "i (j k) -> i j k", k=per_image)
            place = torch.arange(size, device=share.device)
            cells[place, place] -= among[block] + 1 / per_image
            share *= factor
            of_scale += (share * similarities).sum()
            share *= scale
            of_images[block] = share @ words
            of_words += share.T @ images[block]
        return of_images, of_words, of_scale, None


def _blocks(num_rows: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, num_rows)) for start in range(0, num_rows, _BLOCK)]
