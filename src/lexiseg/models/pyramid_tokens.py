"""One map of a backbone as the tokens of an image: what makes any pretrained backbone an image encoder."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.layers.feature_pyramid import PyramidBackbone


class PyramidTokens(ImageEncoder):
    """The map of a backbone whose stride is nearest to ``stride``, one token a place; there is no global token.

    What of the backbone that map does not depend on is frozen: parameters that never get a gradient end a training on
    several devices.

    Args:
        backbone: With or without weights.
        stride: Wanted pixels per token.
    """

    def __init__(self, backbone: PyramidBackbone, stride: int = 16) -> None:
        super().__init__()
        self.backbone = backbone
        distances = [abs(each - stride) for each in backbone.strides]
        self._place = distances.index(min(distances))
        self.stride = backbone.strides[self._place]
        self.width = backbone.channels[self._place]
        freeze_idle(self, 2 * backbone.strides[-1])

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        tokens = self.backbone(images)[self._place][:, :, : grid[0], : grid[1]]
        return PatchFeatures(tokens=rearrange(tokens, "b d h w -> b (h w) d"), grid=grid, stride=self.stride)


def freeze_idle(encoder: ImageEncoder, side: int, *, whole: bool = False) -> list[str]:
    """Freeze the parameters that what is used of an encoder does not depend on; return their names.

    Args:
        encoder: Is run once, on one image of noise.
        side: Of that image, in pixels.
        whole: What is used is the global token, not the tokens of the patches.
    """
    trained = [(name, value) for name, value in encoder.named_parameters() if value.requires_grad]
    if not trained:
        return []
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad():
        features = encoder(torch.rand(1, 3, side, side, generator=generator))
        used = features.global_token if whole else features.tokens
        assert used is not None, "an encoder without a global token"
        gradients = torch.autograd.grad(
            used.square().sum(), [value for _, value in trained], allow_unused=True
        )
    idle = [
        (name, value) for (name, value), gradient in zip(trained, gradients, strict=True) if gradient is None
    ]
    nn.ParameterList([value for _, value in idle]).requires_grad_(False)
    return [name for name, _ in idle]
