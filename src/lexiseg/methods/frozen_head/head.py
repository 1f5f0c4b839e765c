"""FrozenHead: the classes of a person's folder as linear functions of what a frozen network says of a patch.

No paper of its own: linear probing (Alain and Bengio, 2016) with ridge regression, in the place of a network
that would have to be trained. What it learns from, and how, is ``fitting``'s. Where a DINOv2 describes the patches, scores
are averaged over those that it finds alike, as ProxyCLIP (Lan et al., ECCV 2024) does with values.
"""

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.proxy_attention import soft_affinity


class LinearHead(nn.Module):
    """The scores that a fit gives the patches of an image; ``fitting.fit_head`` makes it, whoever asks.

    Args:
        weight: From features to classes.
        num_alike: How many of a token's first numbers say which patches are alike; 0 where none do.
        smoothing: Temperature at which scores are averaged over patches that are alike; 0 for none.
    """

    weight: Tensor

    def __init__(self, weight: Float[Tensor, "F K"], *, num_alike: int = 0, smoothing: float = 0.0) -> None:
        super().__init__()
        self._num_alike, self._smoothing = num_alike, smoothing
        self.register_buffer("weight", weight)

    def forward(self, tokens: Float[Tensor, "B N F"]) -> Float[Tensor, "B N K"]:
        """Score the patches of images, all patches of each."""
        scores = tokens @ self.weight
        if self._num_alike and self._smoothing > 0:
            alike = normalize(tokens[..., : self._num_alike], dim=-1)
            scores = soft_affinity(alike, self._smoothing) @ scores
        return scores


class FrozenHead(ClosedVocabularySegmenter):
    """Scores of all classes of a fixed list, linear in the features of a patch; about 1 where it is sure.

    Args:
        describer: Frozen; its tokens are the features that the head was fitted to.
        head: From tokens to scores.
        vocabulary: The classes.
        settings: Inference defaults.
        facts: What the record of every result says of the method.
        name: What the model is called.
    """

    measure = "fitted score"

    def __init__(
        self,
        describer: ImageEncoder,
        head: LinearHead,
        vocabulary: Vocabulary,
        *,
        settings: InferenceSettings,
        facts: Mapping[str, Any],
        name: str,
    ) -> None:
        super().__init__()
        assert head.weight.shape[1] == len(vocabulary), "one column a class"
        self.describer, self.head, self.vocabulary = describer, head, vocabulary
        self.settings, self.name = settings, name
        self.method_settings = dict(facts)
        # What mini says of names is looked up at a size of its own, which no graph of free sizes can say.
        self.scores_are_products = facts.get("prior") == "none"

    @property
    def stride(self) -> int:
        """Pixels per patch: the encoder's."""
        return self.describer.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return the scores of all classes for each patch, ``B N K``."""
        described = self.describer(images)
        scores = self.head(described.tokens)
        return PatchFeatures(tokens=scores, grid=described.grid, stride=described.stride)


def head_inference(short_side: int, max_long_side: int, *, has_background: bool) -> InferenceSettings:
    """Return the inference defaults of a head: images as it was fitted to them, borders by the image's edges."""
    return InferenceSettings(
        short_side=short_side,
        max_long_side=max_long_side,
        background="name" if has_background else "none",
        refine="guided",
    )


def patch_shares(label_map: torch.Tensor, grid: tuple[int, int], num_classes: int) -> Float[Tensor, "N K1"]:
    """Return the share of each patch's pixels that every class has; void, all labels from ``num_classes`` on, is last.

    Args:
        label_map: ``H W``, any integer type.
        grid: Patches of the result, in rows and columns.
        num_classes: Number of classes.
    """
    labels = label_map.long().clamp(max=num_classes)
    height, width = labels.shape
    rows = torch.arange(height) * grid[0] // height
    columns = torch.arange(width) * grid[1] // width
    cells = (rows[:, None] * grid[1] + columns) * (num_classes + 1) + labels
    counts = torch.bincount(cells.flatten(), minlength=grid[0] * grid[1] * (num_classes + 1)).float()
    counts = rearrange(counts, "(n k) -> n k", k=num_classes + 1)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
