"""What SAM and SAM 2 have in common: read a picture once, then answer any number of point prompts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lexiseg.core.masks import Masks
from lexiseg.models.pixel_normalisation import PixelNormalisation


@dataclass(frozen=True, kw_only=True)
class ReadPicture:
    """A picture as the network has read it.

    Attributes:
        embeddings: Feature maps, coarse last.
        size: Of the picture, ``(height, width)``.
        seen_size: Of the picture inside the network's square input.
    """

    embeddings: tuple[Tensor, ...]
    size: tuple[int, int]
    seen_size: tuple[int, int]


class PromptedMasks(nn.Module, ABC):
    """A network that turns points into masks.

    Attributes:
        network: transformers' model.
        normalisation: The checkpoint's pixel statistics.
        input_side: The network reads squares of this side.
    """

    network: Any
    normalisation: PixelNormalisation
    input_side: int

    @abstractmethod
    def read(self, image: UInt8[np.ndarray, "H W 3"]) -> ReadPicture:
        """Encode one RGB picture of any size: the expensive step, once a picture."""

    @abstractmethod
    def answer(
        self, picture: ReadPicture, points: Float[Tensor, "P N 2"], *, several: bool
    ) -> tuple[Float[Tensor, "P M h w"], Float[Tensor, "P M"]]:
        """Give mask logits at the network's own resolution and the IoU it expects of each.

        Args:
            picture: What ``read`` gave.
            points: ``P`` prompts of ``N`` points each, all on the object, as x and y in pixels of the picture.
            several: Three masks a prompt (whole, part, part of a part) instead of one.
        """

    @abstractmethod
    def enlarge(self, logits: Float[Tensor, "P h w"], picture: ReadPicture) -> Float[Tensor, "P H W"]:
        """Resize logits bilinearly to the size of the picture."""

    @torch.inference_mode()
    def masks_at(
        self, image: UInt8[np.ndarray, "H W 3"], points: Float[np.ndarray, "N 2"], *, several: bool = False
    ) -> Masks:
        """Give the mask of the object under all ``points`` (x and y), or three masks, best first."""
        picture = self.read(image)
        prompt = rearrange(torch.from_numpy(points.astype(np.float32)), "n xy -> 1 n xy")
        logits, scores = self.answer(picture, prompt, several=several)
        order = scores[0].argsort(descending=True, stable=True)
        masks = self.enlarge(logits[0, order], picture) > 0
        return Masks(masks=masks.cpu().numpy(), scores=scores[0, order].float().cpu().numpy())

    def _pixels(self, image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> Tensor:
        """Give the picture at ``size``, normalised, as ``1 3 h w`` on the network's device."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.normalisation.mean.device)
        pixels = rearrange(pixels, "h w c -> 1 c h w").float() / 255
        if size != tuple(image.shape[:2]):
            pixels = interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
        return self.normalisation(pixels)

    def _scaled(self, points: Tensor, picture: ReadPicture) -> Tensor:
        """Move points from the picture to the network's input; adds the axis of the batch."""
        (height, width), (seen_height, seen_width) = picture.size, picture.seen_size
        scale = points.new_tensor([seen_width / width, seen_height / height])
        return rearrange((points * scale).to(self.normalisation.mean), "p n xy -> 1 p n xy")
