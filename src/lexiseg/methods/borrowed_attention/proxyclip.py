"""ProxyCLIP: CLIP's values, attended to by a vision model's similarities.

Lan et al., "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024. Written from a
description of its formulas; the public code, whose licence is non-commercial, was not read.

Differences from that code, as described: windows need not be square; the mean similarity is that of one window; a patch
always keeps itself; window sides are multiples of CLIP's patch instead of padded to multiples of 56.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.block_states import BlockStates
from lexiseg.core.features import PatchFeatures
from lexiseg.methods.borrowed_attention.base import BorrowedAttention
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.ops.proxy_attention import proxy_attention, resize_values
from lexiseg.ops.self_attention import mixed_values


class ProxyClip(BorrowedAttention):
    """Every patch takes values of patches that the vision model finds alike."""

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; tokens come out with unit length, on the vision model's grid."""
        opened = self.clip.open(images)
        features, grid = self.patches_of_vision(images)
        tokens = opened.block.project(borrowed_tokens(opened, features, grid, self.method))
        stride = opened.stride * opened.grid[0] // grid[0]
        return PatchFeatures(tokens=normalize(tokens, dim=2), grid=grid, stride=stride)


def borrowed_tokens(
    opened: BlockStates,
    features: Float[Tensor, "B M D"],
    grid: tuple[int, int],
    method: BorrowedAttentionSettings,
) -> Float[Tensor, "B M W"]:
    """Mix values of the last block by proxy attention, through its output projection; one image at a time.

    Args:
        opened: CLIP up to its last block.
        features: The vision model's patches, unit rows.
        grid: Of these, and of what is returned.
        method: Threshold and sharpness.
    """
    values = resize_values(opened.block.values(opened.last)[:, :, 1:], opened.grid, grid)
    mixed = []
    for one in range(len(features)):
        weights = proxy_attention(features[one : one + 1], beta=method.beta, gamma=method.gamma)
        mixed.append(mixed_values(weights, values[one : one + 1]))
    return opened.block.output(torch.cat(mixed))
