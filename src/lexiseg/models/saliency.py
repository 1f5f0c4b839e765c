"""The saliency decoder that comes with dinov2-small: what stands out in an image, whatever it is.

Three transposed convolutions on DINOv2's patch tokens, from the same file as the backbone
(``models.dinov2_small``). Nothing is published about how it was trained.
"""

from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from lexiseg.core.features import PatchFeatures
from lexiseg.layers.frozen_batch_norm import FrozenBatchNorm
from lexiseg.models.checkpoint import build_model

_WIDTHS = (384, 256, 128, 64)


class SaliencyDecoder(nn.Module):
    """Patch tokens to a saliency map, eight times as fine as their grid."""

    def __init__(self) -> None:
        super().__init__()
        for stage, (inputs, outputs) in enumerate(pairwise(_WIDTHS), start=1):
            setattr(self, f"upconv{stage}", nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
            setattr(self, f"bn{stage}", FrozenBatchNorm(outputs))
        self.final_conv = nn.Conv2d(_WIDTHS[-1], 1, 1)

    def forward(self, features: PatchFeatures) -> Float[Tensor, "B h8 w8"]:
        """Return saliency in [0, 1] of ``h8 = 8 h`` rows and ``w8 = 8 w`` columns for a grid of ``(h, w)``."""
        maps = features.as_map()
        for stage in range(1, len(_WIDTHS)):
            maps = relu(self.get_submodule(f"bn{stage}")(self.get_submodule(f"upconv{stage}")(maps)))
        return torch.sigmoid(self.final_conv(maps))[:, 0]


def load_saliency_decoder(folder: Path) -> SaliencyDecoder:
    """Load the decoder from the folder of dinov2-small, see ``models.hub.resolve_checkpoint``.

    Raises:
        CheckpointError: The folder has no such file, or a damaged one.
    """
    return build_model(folder, SaliencyDecoder, stem="saliency")
