"""The interfaces between the rooms. A class is either abstract or final.

``ImageEncoder``, ``TextEncoder`` and ``MaskProposer`` are here; ``Segmenter``, which also answers to people
(``segment``), is in ``inference.segmenter`` because it runs the one inference path.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lexiseg.core.features import PatchFeatures
from lexiseg.core.masks import Masks


class ImageEncoder(nn.Module, ABC):
    """Images to patch features. Owns its normalisation as buffers.

    Attributes:
        stride: Pixels per patch. Inputs are multiples of it on both axes.
    """

    stride: int

    @abstractmethod
    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images with values in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""


class TextEncoder(nn.Module, ABC):
    """Texts to embeddings.

    Attributes:
        fingerprint: Content hash of the weights; equal fingerprints give equal embeddings.
    """

    fingerprint: str

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Encode texts, one row each, as the model leaves them (not normalised unless it says so).

        Raises:
            VocabularyError: A text is longer than the model can read.
        """


class MaskProposer(nn.Module, ABC):
    """A picture to regions of it: class-agnostic, in any number. A module, so that it moves with ``to``."""

    @abstractmethod
    def propose(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        """Cut one RGB picture of any size into masks of that size; none at all is an answer."""
