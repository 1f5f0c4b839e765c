"""Decision: what a method decided for an image, in the open."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt16
from torch import Tensor

from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.settings import InferenceSettings

#: What may be decided again from kept scores: background by another threshold, or without background.
Redecision: TypeAlias = Literal["threshold", "drop_background"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """Label and score of every pixel, before a threshold paints background.

    Attributes:
        labels: Labels of the vocabulary, at the image's own size.
        scores: Score of that class there, on the method's own scale: what a threshold is compared with.
        unknown: Pixels that resemble nothing the method knows, whatever their label; None where it cannot tell.
        grid_scores: Computes the scores of the competing classes on the encoder's grid, in the order of
            ``ClassNames.labels``, where upsampling them and taking the best is all that decided. None
            where something else did: regions, scores of the whole image, borders moved to edges.
    """

    labels: UInt16[np.ndarray, "H W"]
    scores: Float32[np.ndarray, "H W"]
    unknown: Bool[np.ndarray, "H W"] | None = None
    grid_scores: Callable[[], Float[Tensor, "C h w"]] | None = field(default=None, repr=False)

    def label_map(self, class_names: ClassNames, settings: InferenceSettings) -> UInt16[np.ndarray, "H W"]:
        """Return the labels, with background where scores are below ``settings.threshold``."""
        if settings.background != "threshold":
            return self.labels
        assert class_names.vocabulary.background is not None
        assert settings.threshold is not None
        background = np.uint16(class_names.vocabulary.background)
        return np.where(self.scores < np.float32(settings.threshold), background, self.labels)
