"""What curation asks of an image-text model."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8


@runtime_checkable
class PairEncoder(Protocol):
    """One space for images and sentences.

    Attributes:
        name: What it was loaded by.
        fingerprint: Of weights and settings: equal ones give equal vectors.
    """

    name: str
    fingerprint: str

    def embed_images(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "B D"]:
        """Embed RGB images, 0..255, of any sizes; unit rows."""

    def embed_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "T D"]:
        """Embed sentences as they are; unit rows."""
