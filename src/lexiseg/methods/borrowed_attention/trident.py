"""Trident: ProxyCLIP in windows, spliced, then smoothed over the whole image by SAM's last attention.

Shi et al., "Harnessing Vision Foundation Models for High-Performance, Training-Free Open Vocabulary Segmentation", 2024.
Written from a description of its formulas.

Its second pass through SAM's prompts is ``prompt_refinement``, off by default as there.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, OpenImageEncoder, TextEncoder
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision, Redecision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.borrowed_attention.base import BorrowedAttention
from lexiseg.methods.borrowed_attention.prompt_refinement import redraw
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
        spliced, cell = splice(encoded), encoded.features[0].stride
        height, width = encoded.resized_size
        columns = spliced.shape[3]
        parts = min(self.method.sam_views, columns, encoded.image.shape[1])
        bounds = [round(part * columns / parts) for part in range(parts + 1)]
        pixels = [round(bound * encoded.image.shape[1] / columns) for bound in bounds]
        windows, features = [], []
        for (left, right), (first, last) in zip(pairwise(bounds), pairwise(pixels), strict=True):
            attention = self.sam.last_attention(np.ascontiguousarray(encoded.image[:, first:last]))
            maps = interpolate(
                spliced[..., left:right], size=attention.grid, mode="bilinear", align_corners=False
            )
            weights = gated_attention(
                attention.heads, factor=self.method.affinity_factor, negative_limit=self.method.negative_limit
            )
            tokens = weights @ rearrange(maps, "1 d h w -> (h w) d")
            end = width if right == columns else right * cell
            windows.append(Window(top=0, left=left * cell, height=height, width=end - left * cell))
            features.append(
                PatchFeatures(
                    tokens=tokens[None],
                    grid=attention.grid,
                    stride=max(1, round(height / attention.grid[0])),
                )
            )
        return replace(encoded, windows=tuple(windows), features=tuple(features))

    @torch.inference_mode()
    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Decide as every model does; with ``sam_prompts`` SAM then draws large pieces again."""
        decision = super().decide(encoded, class_names, settings)
        if self.method.sam_views > 1:  # parts have grids of their own
            decision = replace(decision, grid_scores=None)
        if not self.method.sam_prompts or len(class_names.labels) == 1:
            return decision
        height, width = encoded.image.shape[:2]
        half = (max(1, height // 2), max(1, width // 2))
        chances = class_probabilities(encoded, self.class_scores, class_names, half, settings.logit_scale)
        places, values, drawn = redraw(
            self.sam, self.sam.embed(encoded.image), chances, least=self.method.min_prompt_probability
        )
        full = [
            interpolate(each[None, None].double(), size=(height, width), mode="nearest-exact")[0, 0]
            .cpu()
            .numpy()
            for each in (places, values, drawn)
        ]
        is_drawn = full[2] > 0
        labels = np.asarray(class_names.labels, np.uint16)[full[0].astype(np.int64)]
        probabilities = decision.probabilities
        if probabilities is not None:
            probabilities = np.where(is_drawn, np.maximum(probabilities, full[1]), probabilities).astype(
                np.float32
            )
        return replace(
            decision,
            labels=np.where(is_drawn, labels, decision.labels),
            probabilities=probabilities,
            grid_scores=None,
        )

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Say that what SAM drew, or saw in parts, is not decided again; another threshold on the winners' scores is."""
        if not self.method.sam_prompts and self.method.sam_views == 1:
            return super().redecisions(settings)
        return frozenset({"threshold"} if settings.background == "threshold" else ())

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


def class_probabilities(
    encoded: EncodedImage,
    score: Callable[[PatchFeatures, Tensor], Tensor],
    class_names: ClassNames,
    size: tuple[int, int],
    logit_scale: float,
) -> Float[Tensor, "C h w"]:
    """Compute the softmax over all names at some size, and of the names of a class the best.

    Args:
        encoded: Windows lie side by side.
        score: The method's ``class_scores``.
        class_names: What competes.
        size: Of what is returned.
        logit_scale: Factor of the scores.
    """
    seen_width, left, maps = encoded.resized_size[1], 0, []
    for window, features in zip(encoded.windows, encoded.features, strict=True):
        right = max(left + 1, round((window.left + window.width) * size[1] / seen_width))
        found = score(features, class_names.embeddings)
        maps.append(interpolate(found, size=(size[0], right - left), mode="bilinear", align_corners=False)[0])
        left = right
    chances = (logit_scale * torch.cat(maps, dim=2)[..., : size[1]]).softmax(dim=0)
    ends = list(accumulate(class_names.counts))
    starts = [0, *ends[:-1]]
    return torch.stack([chances[start:end].amax(dim=0) for start, end in zip(starts, ends, strict=True)])
