"""A Segmenter whose right answer is known: words are colours, a patch scores by its mean colour."""

from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.features import PatchFeatures
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "black": (0, 0, 0), "white": (1, 1, 1)}


class ColourSegmenter(Segmenter):
    """Scores are minus the distance between a patch's mean colour and the word's colour.

    A word that is no colour gets one from its letters, so that any vocabulary works.
    """

    name = "colours"

    def __init__(self, *, independent_classes: bool = True, **settings: object) -> None:
        super().__init__()
        self.settings = InferenceSettings(**{"short_side": 32, "refine": "none", **settings})
        self.independent_classes = independent_classes
        self.encoded_batches: list[int] = []
        self.scored_names: list[int] = []

    @property
    def stride(self) -> int:
        return 4

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        self.encoded_batches.append(images.shape[0])
        means = reduce(images, "b c (h p) (w q) -> b c h w", "mean", p=4, q=4)
        grid = (means.shape[2], means.shape[3])
        return PatchFeatures(tokens=rearrange(means, "b c h w -> b (h w) c"), grid=grid, stride=4)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        def colour(name: str) -> tuple[float, ...]:
            seed = sum(ord(c) * (i + 1) for i, c in enumerate(name))
            return tuple((seed * k % 251) / 250 for k in (7, 31, 101))

        return torch.tensor([COLOURS.get(name, colour(name)) for name in names], dtype=torch.float32)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        self.scored_names.append(embeddings.shape[0])
        distance = torch.cdist(embeddings[None], features.tokens)
        return -rearrange(distance, "b s (h w) -> b s h w", h=features.grid[0])
