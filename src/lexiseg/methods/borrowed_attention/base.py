"""What the three methods share: names, scores, and patches of the vision model laid over those of CLIP."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import log
from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, OpenImageEncoder, TextEncoder
from lexiseg.inference.grounds import AskedPixel, Grounds, score_grounds, with_templates
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.methods.borrowed_attention.settings import BorrowedAttentionSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.sam import SamNeck
from lexiseg.ops.similarity import similarity_map


class BorrowedAttention(Segmenter, ABC):
    """Score names by the cosine with patches whose values were mixed by another network's correlations.

    The vision model sees the window resized so that a whole number of its patches, one, four, …, lies on each of CLIP's:
    for patches that divide each other, as in the papers, that is the window itself. The scores' grid is the vision
    model's.

    Args:
        clip: Gives values; its space is that of the texts.
        text_encoder: Gives the class embeddings.
        vision: Lends its correlations; None where regions alone say what is alike.
        name: What the model was asked for by.
        head: Name of the method.
        settings: Inference defaults.
        method: The method's settings.
    """

    measure = "cosine"

    def __init__(
        self,
        clip: OpenImageEncoder,
        text_encoder: TextEncoder,
        vision: ImageEncoder | None,
        *,
        name: str,
        head: str,
        settings: InferenceSettings,
        method: BorrowedAttentionSettings,
    ) -> None:
        super().__init__()
        self.clip, self.text_encoder, self.vision = clip, text_encoder, vision
        self.name, self.head, self.settings, self.method = name, head, settings, method
        self.applies = (f"head-{head}",)
        self.method_settings = self._record()

    def _record(self) -> Mapping[str, Any]:
        vision = None if self.vision is None else fingerprint(self.vision)
        return {
            "head": self.head,
            **asdict(self.method),
            "image_encoder": fingerprint(self.clip),
            "text_encoder": self.text_encoder.fingerprint,
            "vision_encoder": vision,
        }

    @property
    def stride(self) -> int:
        """Pixels per patch of CLIP: windows are multiples of it."""
        return self.clip.stride

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names as unit vectors, remembered on disk."""
        return embed_names(self.text_encoder, names, prompts)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell which words, and which sentences of the winner, a pixel is near to."""
        return with_templates(score_grounds(self, asked), self, self.text_encoder, asked)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Return cosines: unit tokens against unit class embeddings."""
        return similarity_map(features.tokens, embeddings, features.grid)

    def patches_of_vision(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B N D"], tuple[int, int]]:
        """Return the vision model's patches as unit rows, and their grid, a multiple of CLIP's."""
        assert self.vision is not None
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        times = self._patches_a_side(grid)
        wanted = (grid[0] * times, grid[1] * times)
        size = (wanted[0] * self.vision.stride, wanted[1] * self.vision.stride)
        if size != tuple(images.shape[2:]) and not isinstance(self.vision, SamNeck):
            images = interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        features = self.vision(images)
        tokens = features.tokens
        if features.grid != wanted:
            maps = interpolate(features.as_map(), size=wanted, mode="bilinear", align_corners=False)
            tokens = rearrange(maps, "b d h w -> b (h w) d")
        return normalize(tokens, dim=2), wanted

    def _patches_a_side(self, grid: tuple[int, int]) -> int:
        """Return how many patches of the vision model lie along one of CLIP's: a divisor of CLIP's stride."""
        assert self.vision is not None
        divisors = [number for number in range(1, self.stride + 1) if self.stride % number == 0]
        if isinstance(self.vision, SamNeck):
            limit = max(self.vision.grid) / max(grid)
            return max(number for number in divisors if number <= max(1.0, limit))
        ratio = self.stride / self.vision.stride
        return min(divisors, key=lambda number: abs(log(number / ratio)))
