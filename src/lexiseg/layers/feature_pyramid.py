"""PyramidBackbone: what a segmentation network asks of the network below it."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class PyramidBackbone(nn.Module, ABC):
    """Images to feature maps of several sizes. Owns its pixel normalisation.

    Attributes:
        channels: Channels of every map, fine to coarse.
        strides: Pixels per position of every map, fine to coarse; each divides the next.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of RGB images with values in [0, 1], fine to coarse.

        Sides that are no multiple of the coarsest stride are allowed; maps are then rounded up.
        """
