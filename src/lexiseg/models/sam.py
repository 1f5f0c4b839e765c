"""SAM: masks of whatever is under a point.

Kirillov et al., "Segment Anything", ICCV 2023. Trained on masks drawn by people and by the model itself,
without classes: a method that uses it is not free of mask supervision.

The image's long side is resized to the network's input (1024), the rest of the square is zero after
normalisation, and masks come back at a quarter of that, as the authors do it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from lexiseg.core.errors import CheckpointError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
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

    def predict_piece(
        self,
        embedded: ImageEmbeddings,
        point: Float[Tensor, " 2"],
        corners: Float[Tensor, "2 2"],
        probability: Float[Tensor, "h w"],
    ) -> tuple[Float[Tensor, "m n"], float]:
        """Predict one mask under a point, a box and a map together.

        Args:
            embedded: What ``embed`` returned.
            point: On the object, x and y in pixels of the image.
            corners: Of the box, top left and bottom right, likewise.
            probability: A map of the whole image, at any size, as the network's mask prompt.

        Returns:
            Mask logits at a quarter of the input's side, and the IoU expected of the mask.
        """
        seen = embedded.seen_size
        side = 4 * (self.input_side // int(self.network.config.vision_config.patch_size))
        valid = [max(1, round(side * each / self.input_side)) for each in seen]
        fitted = interpolate(probability[None, None], size=valid, mode="bilinear", antialias=True)
        answer = self.network(
            image_embeddings=embedded.embeddings[0],
            input_points=self._scaled(point[None, None], embedded),
            input_boxes=rearrange(self._scaled(corners[None], embedded), "1 1 corner xy -> 1 1 (corner xy)"),
            input_masks=pad(fitted, (0, side - valid[1], 0, side - valid[0])),
            multimask_output=False,
        )
        return answer.pred_masks[0, 0, 0], float(answer.iou_scores[0, 0, 0])

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

    @torch.inference_mode()
    def last_attention(self, image: UInt8[np.ndarray, "H W 3"]) -> "LastAttention":
        """Run the image encoder on one RGB image, 0..255, and keep what its last block's attention read.

        Raises:
            CheckpointError: The last block attends within windows, not over the whole image.
        """
        height, width = image.shape[:2]
        scale = self.input_side / max(height, width)
        seen = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
        pixels = pad(self._pixels(image, seen), (0, self.input_side - seen[1], 0, self.input_side - seen[0]))
        layer = self.network.vision_encoder.layers[-1]
        if layer.window_size:
            raise CheckpointError(
                doing="reading the attention of SAM's last block",
                found=f"attention within windows of {layer.window_size}",
                expected="attention over the whole image, as in SAM's own checkpoints",
                fix="Choose one of facebook/sam-vit-base, -large, -huge.",
            )
        kept: list[Tensor] = []
        hook = layer.attn.register_forward_pre_hook(
            lambda _, arguments, named: kept.append(named.get("hidden_states", *arguments)), with_kwargs=True
        )
        try:
            self.network.get_image_embeddings(pixels)
        finally:
            hook.remove()
        patch = self.input_side // kept[0].shape[1]
        valid = max(1, seen[0] // patch), max(1, seen[1] // patch)
        return LastAttention(attention=layer.attn, tokens=kept[0], grid=valid)


@dataclass(frozen=True, kw_only=True, eq=False)
class LastAttention:
    """The attention of SAM's last block on one image, a head at a time: all together are 0.8 GB.

    Attributes:
        attention: transformers' attention with relative positions.
        tokens: Its input, ``1 h w W``.
        grid: Part of the grid that the image covers; the rest is padding.
    """

    attention: Any
    tokens: Tensor
    grid: tuple[int, int]

    def heads(self) -> Iterator[tuple[Float[Tensor, "n n"], Float[Tensor, "n d"]]]:
        """Yield the weights after softmax and the values of each head, cut to the image's part of the grid."""
        (_, height, width, _), attention = self.tokens.shape, self.attention
        side = (height, width)
        num_heads = attention.num_attention_heads
        parts = rearrange(attention.qkv(self.tokens), "1 h w (qkv a d) -> qkv a (h w) d", qkv=3, a=num_heads)
        inside = rearrange(torch.arange(height * width), "(h w) -> h w", h=height)
        inside = inside[: self.grid[0], : self.grid[1]].reshape(-1).to(parts.device)
        for query, key, value in zip(*parts, strict=True):
            logits = (query[inside] * attention.scale) @ key.T
            if attention.use_rel_pos:
                by_place = attention.get_decomposed_rel_pos(
                    query[None], attention.rel_pos_h, attention.rel_pos_w, side, side
                )
                logits = logits + by_place.reshape(height * width, -1)[inside]
            yield logits.softmax(dim=1)[:, inside], value[inside]


class SamNeck(ImageEncoder):
    """The output of SAM's neck as patch features: images are squashed to the network's square, whatever their shape.

    Args:
        sam: Any size.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam
        self.stride = int(sam.network.config.vision_config.patch_size)
        side = sam.input_side // self.stride
        self.grid = (side, side)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] of any size; the grid is always the network's own."""
        square = (self.sam.input_side, self.sam.input_side)
        pixels = interpolate(images, size=square, mode="bilinear", antialias=True, align_corners=False)
        maps = self.sam.network.get_image_embeddings(self.sam.normalisation(pixels))
        tokens = rearrange(maps, "b d h w -> b (h w) d")
        return PatchFeatures(tokens=tokens, grid=self.grid, stride=self.stride)


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
