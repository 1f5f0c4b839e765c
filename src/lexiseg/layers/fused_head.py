"""FusedHead: feature maps of several sizes to one map at the finest of them.

The all-MLP decoder of Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", NeurIPS 2021, with group instead of batch normalisation, so that batches may be small.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate


class FusedHead(nn.Module):
    """Bring every map to one width and size, fuse them, and project.

    Args:
        channels: Of the maps, fine to coarse.
        width: Of every map and of what they are fused to; a multiple of ``norm_groups``.
        outputs: Channels of the result: classes, or dimensions of an embedding.
        norm_groups: Of the normalisation.
    """

    def __init__(self, channels: Sequence[int], *, width: int, outputs: int, norm_groups: int = 8) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(width * len(channels), width, 1, bias=False),
            nn.GroupNorm(norm_groups, width),
            nn.ReLU(inplace=True),
        )
        self.project = nn.Conv2d(width, outputs, 1)

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B D h w"]:
        """Return the result at the size of the first map."""
        size = maps[0].shape[-2:]
        levels = [level(each) for level, each in zip(self.levels, maps, strict=True)]
        resized = [levels[0], *(interpolate(each, size=size, mode="bilinear") for each in levels[1:])]
        return self.project(self.fuse(torch.cat(resized, dim=1)))
