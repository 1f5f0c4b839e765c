"""What SAM and SAM 2 have in common: embed an image once, then predict masks for any number of point prompts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lexiseg.core.masks import Masks
from lexiseg.models.pixel_normalisation import PixelNormalisation


@dataclass(frozen=True, kw_only=True)
class ImageEmbeddings:
    """What SAM's image encoder computes once an image.

    Attributes:
        embeddings: Feature maps, coarse last.
        size: Height and width of the image in pixels.
        seen_size: Height and width that the image has inside the network's square input.
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
        min_expected_iou: Limit of its authors' mask generator on the expected IoU.
    """

    min_expected_iou: ClassVar[float]
    network: Any
    normalisation: PixelNormalisation
    input_side: int

    @abstractmethod
    def embed(self, image: UInt8[np.ndarray, "H W 3"]) -> ImageEmbeddings:
        """Encode one RGB image of any size, 0..255: the expensive step, once an image."""

    @abstractmethod
    def predict(
        self, embedded: ImageEmbeddings, points: Float[Tensor, "P N 2"], *, multimask_output: bool
    ) -> tuple[Float[Tensor, "P M h w"], Float[Tensor, "P M"]]:
        """Predict mask logits at the network's own resolution, and the IoU it expects of each.

        Args:
            embedded: What ``embed`` returned.
            points: ``P`` prompts of ``N`` points each, all on the object, as x and y in pixels of the image.
            multimask_output: Three masks a prompt (whole, part, part of a part) instead of one.
        """

    @abstractmethod
    def upsample(self, logits: Float[Tensor, "P h w"], embedded: ImageEmbeddings) -> Float[Tensor, "P H W"]:
        """Upsample logits bilinearly to the size of the image; no mask at all gives none."""

    @torch.inference_mode()
    def masks_at(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        points: Float[np.ndarray, "N 2"],
        *,
        multimask_output: bool = False,
    ) -> Masks:
        """Return the mask of the object under all ``points`` (x and y), or three masks, best first."""
        embedded = self.embed(image)
        prompt = rearrange(torch.from_numpy(points.astype(np.float32)), "n xy -> 1 n xy")
        logits, scores = self.predict(embedded, prompt, multimask_output=multimask_output)
        order = scores[0].argsort(descending=True, stable=True)
        masks = self.upsample(logits[0, order], embedded) > 0
        return Masks(masks=masks.cpu().numpy(), scores=scores[0, order].float().cpu().numpy())

    def _pixels(self, image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> Tensor:
        """Return the image at ``size``, normalised, as ``1 3 h w`` on the network's device."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.normalisation.mean.device)
        pixels = rearrange(pixels, "h w c -> 1 c h w").float() / 255
        if size != tuple(image.shape[:2]):
            pixels = interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
        return self.normalisation(pixels)

    def _scaled(self, points: Tensor, embedded: ImageEmbeddings) -> Tensor:
        """Move points from the image to the network's input; adds the axis of the batch."""
        (height, width), (seen_height, seen_width) = embedded.size, embedded.seen_size
        scale = points.new_tensor([seen_width / width, seen_height / height])
        return rearrange((points * scale).to(self.normalisation.mean), "p n xy -> 1 p n xy")
