"""The contrastive loss of image-text models, and its learned temperature."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Rows of the similarity matrix that are worked on at a time.
_BLOCK = 512


class Temperature(nn.Module):
    """A scalar that is learned directly, not as a logarithm, and clamped when used.

    Outside the range its gradient is zero.

    Args:
        initial: First value, above 0.
        lowest: Lower end of the range it is clamped to, above 0.
        highest: Upper end of that range.
    """

    def __init__(self, initial: float = 0.07, *, lowest: float = 0.001, highest: float = 0.5) -> None:
        super().__init__()
        assert 0 < lowest <= highest, f"a range from {lowest} to {highest}"
        self.value = nn.Parameter(torch.tensor(float(initial)))
        self.lowest, self.highest = lowest, highest

    def forward(self) -> Float[Tensor, ""]:
        """Return the clamped temperature."""
        return self.value.clamp(self.lowest, self.highest)


def contrastive_loss(
    images: Float[Tensor, "B D"], texts: Float[Tensor, "B D"], temperature: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Compute the symmetric InfoNCE loss: the mean of the cross-entropies of images against texts and back.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. The loss is log B
    where all embeddings are equal. Works on blocks of rows and keeps none of them, so that memory grows with
    ``B``, not with its square; in float32 at least, under autocast too.

    Args:
        images: Embeddings of unit length, one row an image.
        texts: Embeddings of unit length; row i is the caption of image i.
        temperature: Scalar above 0 that cosines are divided by.
    """
    at_least_single = torch.promote_types(images.dtype, torch.float32)
    contrast: Callable[[Tensor, Tensor, Tensor], Tensor] = _Contrast.apply
    # Autocast would round similarities to half precision before they are divided by the temperature, and
    # those of the backward pass, outside of it, would be others.
    with torch.autocast(images.device.type, enabled=False):
        return contrast(images.to(at_least_single), texts.to(at_least_single), temperature)


class _Contrast(torch.autograd.Function):
    """The closed form: with softmax p over rows and q over columns, the gradient of a logit is (p + q - 2·[i=j]) / 2B."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, temperature: Tensor) -> Tensor:
        rows = images.new_empty(len(images))
        columns = images.new_full((len(texts),), -torch.inf)
        own = (images * texts).sum(1) / temperature
        for block in _blocks(len(images)):
            logits = images[block] @ texts.T / temperature
            rows[block] = logits.logsumexp(1)
            columns = torch.logaddexp(columns, logits.logsumexp(0))
        ctx.save_for_backward(images, texts, temperature, rows, columns)
        return (0.5 * (rows + columns) - own).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images, texts, temperature, rows, columns = ctx.saved_tensors
        of_images, of_texts = torch.empty_like(images), torch.zeros_like(texts)
        of_temperature = torch.zeros_like(temperature)
        factor = scale / (2 * len(images))
        for block in _blocks(len(images)):
            logits = images[block] @ texts.T / temperature
            share = (logits - rows[block, None]).exp_() + (logits - columns).exp_()
            share.diagonal(block.start).sub_(2)
            share *= factor
            of_temperature -= (share * logits).sum() / temperature
            share /= temperature
            of_images[block] = share @ texts
            of_texts += share.T @ images[block]
        return of_images, of_texts, of_temperature


def _blocks(num_rows: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, num_rows)) for start in range(0, num_rows, _BLOCK)]
