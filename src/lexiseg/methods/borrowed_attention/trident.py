"""Trident: ProxyCLIP in windows, spliced, then smoothed over the whole image by SAM's last attention.

Shi et al., "Harnessing Vision Foundation Models for High-Performance, Training-Free Open Vocabulary Segmentation", 2024.
Written from a description of its formulas.

Differences from the public code, as described: no second pass through SAM's prompts (its optional refinement); Cityscapes'
images are not cut into halves.
"""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, OpenImageEncoder, TextEncoder
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.borrowed_attention.base import BorrowedAttention
from lexiseg.methods.borrowed_attention.proxyclip import borrowed_tokens
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.sam import Sam
from lexiseg.ops.proxy_attention import gated_attention
from lexiseg.ops.similarity import similarity_map
from lexiseg.ops.sliding_window import Window


class Trident(BorrowedAttention):
    """Windows are spliced before they are projected, and SAM's attention spreads them over the image.

    Args:
        clip: Gives values; its space is that of the texts.
        text_encoder: Gives the class embeddings.
        vision: Lends its correlations inside windows.
        sam: Lends its attention over the whole image.
        name: What the model was asked for by.
        settings: Inference defaults.
        method: The method's settings.
    """

    def __init__(
        self,
        clip: OpenImageEncoder,
        text_encoder: TextEncoder,
        vision: ImageEncoder,
        sam: Sam,
        *,
        name: str,
        settings: InferenceSettings,
        method: BorrowedAttentionSettings,
    ) -> None:
        super().__init__(
            clip, text_encoder, vision, name=name, head="trident", settings=settings, method=method
        )
        self.sam = sam
        self.method_settings = {**self.method_settings, "sam_encoder": fingerprint(sam)}

    def refuse_settings(self, settings: InferenceSettings) -> None:
        """Refuse windows that do not lie on CLIP's grid: they could not be spliced.

        Raises:
            InputError: The step of the windows is no multiple of CLIP's patch, or large images are to be tiled.
        """
        super().refuse_settings(settings)
        if settings.tiles != "off":
            raise InputError(
                doing="splicing the windows of an image",
                found=f"tiles = {settings.tiles!r}",
                expected="off: windows lie on one grid, and SAM sees the image whole",
                fix="Leave tiles out; a larger --short-side shows more.",
            )
        step = settings.window_stride
        if settings.window is not None and step is not None and step % self.stride:
            raise InputError(
                doing="splicing the windows of an image",
                found=f"windows every {step} pixels",
                expected=f"a multiple of CLIP's patch, {self.stride} pixels",
                fix=f"Use --window-stride {max(1, round(step / self.stride)) * self.stride}.",
            )

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; tokens are not yet projected, so that windows can be spliced and smoothed."""
        opened = self.clip.open(images)
        features, grid = self.patches_of_vision(images)
        tokens = borrowed_tokens(opened, features, grid, self.method)
        return PatchFeatures(tokens=tokens, grid=grid, stride=opened.stride * opened.grid[0] // grid[0])

    @torch.inference_mode()
    def finish_encoding(self, encoded: EncodedImage) -> EncodedImage:
        """Average overlapping windows on one grid, lay it over SAM's, and mix its tokens by SAM's attention."""
        attention = self.sam.last_attention(encoded.image)
        spliced = splice(encoded)
        maps = interpolate(spliced, size=attention.grid, mode="bilinear", align_corners=False)
        weights = gated_attention(attention.heads, factor=self.method.affinity_factor)
        tokens = weights @ rearrange(maps, "1 d h w -> (h w) d")
        height, width = encoded.resized_size
        features = PatchFeatures(
            tokens=tokens[None], grid=attention.grid, stride=max(1, round(height / attention.grid[0]))
        )
        whole = Window(top=0, left=0, height=height, width=width)
        return replace(encoded, windows=(whole,), features=(features,))

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Return cosines: projected tokens of unit length against unit class embeddings."""
        tokens = normalize(self.clip.last_block.project(features.tokens), dim=2)
        return similarity_map(tokens, embeddings, features.grid)


def splice(encoded: EncodedImage) -> Float[Tensor, "1 D h w"]:
    """Average the tokens of overlapping windows on the grid of the whole image."""
    cell = encoded.features[0].stride
    height, width = encoded.resized_size
    total = encoded.features[0].tokens.new_zeros(
        encoded.features[0].tokens.shape[2], height // cell, width // cell
    )
    count = total.new_zeros(total.shape[1:])
    for window, features in zip(encoded.windows, encoded.features, strict=True):
        top, left = window.top // cell, window.left // cell
        place = (..., slice(top, top + features.grid[0]), slice(left, left + features.grid[1]))
        total[place] += features.as_map()[0]
        count[place] += 1
    return (total / count)[None]
