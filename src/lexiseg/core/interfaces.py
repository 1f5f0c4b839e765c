"""The interfaces between the rooms. A class is either abstract or final.

``ImageEncoder``, ``TextEncoder``, ``MaskProposer`` and ``Trainable`` are here, and what a segmenter may be able
to do beside segmenting: ``ImageTextModel``, ``ExplainingModel``. ``Segmenter``, which also answers
to people (``segment``), is in ``inference.segmenter`` because it runs the one inference path.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lexiseg.core.batch import Batch
from lexiseg.core.block_states import BlockStates, LastBlock
from lexiseg.core.explanation import Explanation
from lexiseg.core.features import PatchFeatures
from lexiseg.core.loss_terms import LossTerms
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


class OpenImageEncoder(ImageEncoder, ABC):
    """A vision transformer that can be opened before its last block."""

    @abstractmethod
    def open(self, images: Float[Tensor, "B 3 H W"]) -> BlockStates:
        """Run all blocks but the last on RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""

    @property
    @abstractmethod
    def last_block(self) -> LastBlock:
        """Return the last block and what follows it."""


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

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each text's tokens that are unknown: 0 is all read, 1 is nothing read of it.

        Texts of unknown tokens only all get one embedding, whatever they mean. An encoder whose tokenizer
        reads bytes has no unknown token and keeps this; every other one overrides it.
        """
        return [0.0] * len(texts)


class MaskProposer(nn.Module, ABC):
    """An image to regions of it: class-agnostic, in any number. A module, so that it moves with ``to``."""

    @abstractmethod
    def propose(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        """Cut one RGB image of any size into masks of that size; none at all is an answer."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that an optimiser treats alike.

    Attributes:
        parameters: Names (as in ``named_parameters``) and parameters.
        lr_factor: Multiplies the learning rate.
        decayed: Whether weight decay applies to them.
    """

    parameters: Sequence[tuple[str, nn.Parameter]]
    lr_factor: float = 1.0
    decayed: bool = True


class Trainable(nn.Module, ABC):
    """What the training engine trains: a batch to a loss.

    ``forward`` is the loss, so that wrappers for many devices see every use of the parameters.

    Attributes:
        training_only: Beginnings of the names of weights that training alone needs. They are in checkpoints,
            not in the weights that a finished run leaves.
    """

    training_only: tuple[str, ...] = ()

    @abstractmethod
    def loss(self, batch: Batch) -> LossTerms:
        """Compute the loss of this device's share of the batch.

        Averages over samples are averages over the share; where another normaliser is used (a count
        of masks, say), it is the mean count over devices, so that the mean of all devices' gradients is the
        gradient of the whole batch.
        """

    def forward(self, batch: Batch) -> LossTerms:
        """Compute the loss."""
        return self.loss(batch)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter that is to be trained, once; by default those that require a gradient."""
        trained = [(name, value) for name, value in self.named_parameters() if value.requires_grad]
        return [ParameterGroup(parameters=trained)]


class ContrastiveTrainable(Trainable):
    """A trainable whose loss compares every image of the batch with every text of it.

    The two halves are apart so that the engine can accumulate gradients over parts of a batch without
    making the comparison smaller.
    """

    @abstractmethod
    def embed(self, batch: Batch) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]]:
        """Embed images and what is said of them, one row an image each, as ``contrast`` takes them."""

    @abstractmethod
    def contrast(self, images: Float[Tensor, "B D"], texts: Float[Tensor, "B E"]) -> LossTerms:
        """Compare the embeddings of a whole batch, all devices' together."""


@runtime_checkable
class ImageTextModel(Protocol):
    """A model with one space for whole images and sentences: what retrieval and classification are scored with."""

    @property
    def image_side(self) -> int:
        """Side in pixels of the square images that the model is made for."""

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; the global token is the image's embedding, of unit length."""

    def embed_sentences(self, sentences: Sequence[str]) -> Float[Tensor, "T D"]:
        """Embed sentences as they are, without templates, as unit vectors.

        Raises:
            VocabularyError: A sentence is longer than the model can read.
        """


@runtime_checkable
class ExplainingModel(Protocol):
    """A model that can say why a pixel gets its label. Every ``Segmenter`` is one."""

    def explain(self, image: Any, words: Any, point: tuple[int, int]) -> Explanation:
        """Tell what decided at a pixel, the runner-up and the margin.

        Args:
            image: What ``Segmenter.segment`` takes, one of it.
            words: Likewise.
            point: ``(x, y)`` from the upper left corner.

        Raises:
            InputError: The point is no pixel of the image.
        """
