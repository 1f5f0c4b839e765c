"""SAM 2 on single images: masks of whatever is under a point.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", ICLR 2025. Unlike SAM it squeezes the image
into a square input, whatever its shape. Checkpoints published for video are read too, without their
memory.
"""

from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from lexiseg.models.checkpoint import build_model, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.prompted_masks import ImageEmbeddings, PromptedMasks
from lexiseg.models.published_names import published_names

_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")


class Sam2(PromptedMasks):
    """SAM 2 or 2.1 of any size.

    Args:
        network: transformers' ``Sam2Model``.
        normalisation: The checkpoint's pixel statistics.
    """

    min_expected_iou = 0.8

    def __init__(self, network: Any, normalisation: PixelNormalisation) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.input_side = int(network.prompt_encoder.input_image_size)

    def embed(self, image: UInt8[np.ndarray, "H W 3"]) -> ImageEmbeddings:
        """Encode one RGB image of any size, 0..255."""
        seen = (self.input_side, self.input_side)
        maps = self.network.get_image_embeddings(self._pixels(image, seen))
        return ImageEmbeddings(embeddings=tuple(maps), size=(image.shape[0], image.shape[1]), seen_size=seen)

    def predict(
        self, embedded: ImageEmbeddings, points: Float[Tensor, "P N 2"], *, multimask_output: bool
    ) -> tuple[Float[Tensor, "P M h w"], Float[Tensor, "P M"]]:
        """Predict mask logits at a quarter of the input's side and the IoU expected of each."""
        answer = self.network(
            image_embeddings=list(embedded.embeddings),
            input_points=self._scaled(points, embedded),
            multimask_output=multimask_output,
        )
        return answer.pred_masks[0], answer.iou_scores[0]

    def upsample(self, logits: Float[Tensor, "P h w"], embedded: ImageEmbeddings) -> Float[Tensor, "P H W"]:
        """Resize straight to the image."""
        if len(logits) == 0:  # interpolation refuses zero channels
            return logits.new_zeros(0, *embedded.size)
        maps = rearrange(logits, "p h w -> 1 p h w")
        return interpolate(maps, size=embedded.size, mode="bilinear", align_corners=False)[0]


def load_sam2(folder: Path) -> Sam2:
    """Load any transformers SAM 2 checkpoint, for images or for video: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("sam2", "sam2_video"))
    parts = {part: config[part] for part in _PARTS if part in config}
    config_class, model_class = transformers_class("Sam2Config"), transformers_class("Sam2Model")
    model = build_model(folder, lambda: model_class(config_class(**parts)), targets=published_names("sam2"))
    return Sam2(model, load_normalisation(folder)).eval()
