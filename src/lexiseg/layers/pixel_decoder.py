"""PixelDecoder: a feature pyramid network that ends in one embedding a pixel.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, in the form that Cheng et al.,
"Per-Pixel Classification is Not All You Need for Semantic Segmentation" (MaskFormer), NeurIPS 2021, use:
group normalisation, nearest top-down upsampling, and only the finest level goes on.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate


class PixelDecoder(nn.Module):
    """Feature maps of several sizes to pixel embeddings at the finest of them.

    Args:
        channels: Channels of the backbone's maps, fine to coarse.
        width: Channels of every level and of the embeddings.
        norm_groups: Groups of every normalisation.
    """

    def __init__(self, channels: Sequence[int], *, width: int = 256, norm_groups: int = 32) -> None:
        super().__init__()
        self.top = _conv_norm_relu(channels[-1], width, norm_groups)
        below = list(channels[:-1])
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, width, 1, bias=False), nn.GroupNorm(norm_groups, width))
            for own in below
        )
        self.outputs = nn.ModuleList(_conv_norm_relu(width, width, norm_groups) for _ in below)
        self.embedding = nn.Conv2d(width, width, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B D h w"]:
        """Return the embeddings, neither normalised nor activated, at the size of the first map."""
        merged = self.top(maps[-1])
        for level in reversed(range(len(self.laterals))):
            own = self.laterals[level](maps[level])
            merged = self.outputs[level](own + interpolate(merged, size=own.shape[-2:], mode="nearest"))
        return self.embedding(merged)


def _conv_norm_relu(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(groups, outputs),
        nn.ReLU(inplace=True),
    )
