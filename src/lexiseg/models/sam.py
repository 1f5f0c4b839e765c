"""SAM: masks of whatever is under a point.

Kirillov et al., "Segment Anything", ICCV 2023. Trained on masks drawn by people and by the model itself,
without classes: a method that uses it is not free of mask supervision.

The image's long side is resized to the network's input (1024), the rest of the square is zero after
normalisation, and masks come back at a quarter of that, as the authors do it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from lexiseg.models.checkpoint import build_model, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.prompted_masks import ImageEmbeddings, PromptedMasks


class Sam(PromptedMasks):
    """SAM 1 of any size.

    Args:
        network: transformers' ``SamModel``.
        normalisation: The checkpoint's pixel statistics.
    """

    min_expected_iou = 0.88

    def __init__(self, network: Any, normalisation: PixelNormalisation) -> None:
        super().__init__()
        self.network = network
        self.normalisation = normalisation
        self.input_side = int(network.config.vision_config.image_size)

    def embed(self, image: UInt8[np.ndarray, "H W 3"]) -> ImageEmbeddings:
        """Encode one RGB image of any size, 0..255."""
        height, width = image.shape[:2]
        scale = self.input_side / max(height, width)
        # Half a pixel rounds up, as the authors' code has it.
        seen = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
        pixels = pad(self._pixels(image, seen), (0, self.input_side - seen[1], 0, self.input_side - seen[0]))
        embedding = self.network.get_image_embeddings(pixels)
        return ImageEmbeddings(embeddings=(embedding,), size=(height, width), seen_size=seen)

    def predict(
        self, embedded: ImageEmbeddings, points: Float[Tensor, "P N 2"], *, multimask_output: bool
    ) -> tuple[Float[Tensor, "P M h w"], Float[Tensor, "P M"]]:
        """Predict mask logits at a quarter of the input's side and the IoU expected of each."""
        answer = self.network(
            image_embeddings=embedded.embeddings[0],
            input_points=self._scaled(points, embedded),
            multimask_output=multimask_output,
        )
        return answer.pred_masks[0], answer.iou_scores[0]

    def upsample(self, logits: Float[Tensor, "P h w"], embedded: ImageEmbeddings) -> Float[Tensor, "P H W"]:
        """Upsample to the input's square, cut the padding off, resize to the image."""
        if len(logits) == 0:  # interpolation refuses zero channels
            return logits.new_zeros(0, *embedded.size)
        square = (self.input_side, self.input_side)
        (height, width) = embedded.seen_size
        maps = interpolate(
            rearrange(logits, "p h w -> 1 p h w"), size=square, mode="bilinear", align_corners=False
        )
        maps = maps[..., :height, :width]
        if embedded.size != embedded.seen_size:
            maps = interpolate(maps, size=embedded.size, mode="bilinear", align_corners=False)
        return maps[0]


def load_sam(folder: Path) -> Sam:
    """Load any transformers ``SamModel`` checkpoint: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("sam",))
    config_class, model_class = transformers_class("SamConfig"), transformers_class("SamModel")
    shared = "shared_image_embedding.positional_embedding"
    model = build_model(
        folder,
        lambda: model_class(config_class.from_dict(config)),
        tied={"prompt_encoder.shared_embedding.positional_embedding": shared},
    )
    return Sam(model, load_normalisation(folder)).eval()
