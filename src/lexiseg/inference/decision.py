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
    """Label and score of every pixel, before a threshold or a probability paints background.

    Attributes:
        labels: Labels of the vocabulary, at the image's own size.
        scores: Score of that class there, on the method's own scale: what a threshold is compared with.
        unknown: Pixels that resemble nothing the method knows, whatever their label; None where it cannot tell.
        probabilities: Probability of the pixel's best name among all that compete, where the settings go by it.
        grid_scores: Computes the scores of the competing classes on the encoder's grid, in the order of
            ``ClassNames.labels``, where upsampling them and taking the best is all that decided. None
            where something else did: regions, scores of the whole image, borders moved to edges.
    """

    labels: UInt16[np.ndarray, "H W"]
    scores: Float32[np.ndarray, "H W"]
    unknown: Bool[np.ndarray, "H W"] | None = None
    probabilities: Float32[np.ndarray, "H W"] | None = None
    grid_scores: Callable[[], Float[Tensor, "C h w"]] | None = field(default=None, repr=False)

    def label_map(self, class_names: ClassNames, settings: InferenceSettings) -> UInt16[np.ndarray, "H W"]:
        """Return the labels, with background where scores or probabilities are below what the settings ask for."""
        if settings.is_by_probability:
            assert self.probabilities is not None, "a method that decides otherwise refuses min_probability"
            values, least = self.probabilities, settings.min_probability
        elif settings.background == "threshold":
            values, least = self.scores, settings.threshold
        else:
            return self.labels
        assert class_names.vocabulary.background is not None
        assert least is not None
        background = np.uint16(class_names.vocabulary.background)
        return np.where(values < np.float32(least), background, self.labels)


def redecisions_of_scores(settings: InferenceSettings, *, independent_classes: bool) -> frozenset[Redecision]:
    """Return what may be decided again from class scores.

    Those on the encoder's grid decide as they are; what windows blended, and borders that were moved to edges, are kept as
    they came out, which says nothing of a background that competed. Where scores depend on what else is asked for, nothing is
    known of a run without the background.
    """
    if settings.is_by_probability or settings.min_area_share is not None:
        return frozenset()  # kept scores are of the best few names, and of classes that were left out
    on_grid = settings.window is None and settings.tiles == "off"
    if settings.background in ("name", "words") and not (independent_classes and on_grid):
        return frozenset()
    if settings.refine == "none" or settings.background == "threshold":
        return frozenset({"threshold", "drop_background"})
    return frozenset()
