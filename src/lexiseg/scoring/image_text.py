"""Images and sentences as vectors, for what image-text models are scored by beside label maps."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.interfaces import ImageTextModel
from lexiseg.data.transforms import resize_image

#: Images, and sentences, encoded in one call.
_BATCH = 64

#: From an image of any shape to a square: ``crop`` resizes the short side to 9/8 of the model's side and cuts out the middle
#: (324 and 288 pixels, SimSeg's released protocol), ``squash`` resizes the whole image.
Fit = Literal["crop", "squash"]
_MARGIN = 324 / 288


def fit_image(image: UInt8[np.ndarray, "H W 3"], side: int, fit: Fit) -> Float[Tensor, "3 S S"]:
    """Bring an RGB image of 0..255 into a square of the model's side, in [0, 1]."""
    if fit == "squash":
        return resize_image(image, (side, side))
    height, width = image.shape[:2]
    short = round(side * _MARGIN)
    size = (
        max(short, round(height * short / min(height, width))),
        max(short, round(width * short / min(height, width))),
    )
    top, left = ((long - side) // 2 for long in size)
    return resize_image(image, size)[:, top : top + side, left : left + side].contiguous()


def usual_fit(model: ImageTextModel) -> Fit:
    """Return how a model's own protocol brings images into its square: its ``image_fit``, ``squash`` where it has none."""
    return getattr(model, "image_fit", "squash")


def as_image_text_model(model: object) -> ImageTextModel:
    """Check that a model has one space for whole images and sentences.

    Raises:
        InputError: It has not.
    """
    if isinstance(model, ImageTextModel):
        return model
    raise InputError(
        doing=f"comparing images with sentences by {getattr(model, 'name', type(model).__name__)}",
        found="a model without one space for whole images and sentences",
        expected="a model of images and sentences: a CLIP or SigLIP checkpoint, or a run of SimSeg",
        fix="Use --model openai/clip-vit-large-patch14, or train one: lexiseg train simseg/scenes --out RUN.",
    )


@dataclass(frozen=True, kw_only=True)
class EmbeddedPairs:
    """Images and their captions.

    Attributes:
        images: Unit rows.
        texts: Unit rows; an image may have several captions.
        image_of_text: Row of each caption's image.
    """

    images: Float[Tensor, "I D"]
    texts: Float[Tensor, "T D"]
    image_of_text: Int64[Tensor, " T"]


@torch.inference_mode()
def embed_pairs(
    model: ImageTextModel,
    samples: Iterable[Sample],
    *,
    fit: Fit | None = None,
    advance: Callable[[], None] = lambda: None,
) -> EmbeddedPairs:
    """Embed every image and every caption of it.

    Args:
        model: In eval mode.
        samples: Read one at a time.
        fit: How images are brought into a square; None for the model's own way.
        advance: Called after each image.

    Raises:
        DatasetError: There is no sample, or one without a caption.
    """
    sentences: list[str] = []
    owners: list[int] = []
    images = _Images(model, fit or usual_fit(model), model_vector(model))
    for index, sample in enumerate(samples):
        if not sample.captions:
            raise _no_captions(f"{sample.source} without a caption")
        images.add(sample)
        sentences.extend(sample.captions)
        owners.extend([index] * len(sample.captions))
        advance()
    if not owners:
        raise _no_captions("no image at all")
    texts = [
        model.embed_sentences(sentences[at : at + _BATCH]).cpu() for at in range(0, len(sentences), _BATCH)
    ]
    return EmbeddedPairs(
        images=images.vectors(), texts=torch.cat(texts).float(), image_of_text=torch.tensor(owners)
    )


#: From images to one vector each.
Vectors = Callable[[Float[Tensor, "B 3 H W"]], Float[Tensor, "B D"]]


def model_vector(model: ImageTextModel) -> Vectors:
    """Return what gives an image's vector in the space of sentences, of unit length."""

    def vectors(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        found = model.encode_images(images).global_token
        assert found is not None, "a model without a vector for whole images"
        return found

    return vectors


def probe_vector(model: ImageTextModel) -> Vectors:
    """Return what gives the features that a linear probe is trained on: the image encoder's own, before any projection.

    That is ``probe_features`` of models that have such; others give their vector in the space of sentences.
    """
    return getattr(model, "probe_features", None) or model_vector(model)


@torch.inference_mode()
def embed_images(
    model: ImageTextModel,
    samples: Iterable[Sample],
    *,
    fit: Fit | None = None,
    vectors: Vectors | None = None,
) -> Float[Tensor, "I D"]:
    """Embed images only.

    Args:
        model: In eval mode.
        samples: Read one at a time.
        fit: How images are brought into a square; None for the model's own way.
        vectors: What gives a vector; None for that in the space of sentences.
    """
    images = _Images(model, fit or usual_fit(model), vectors or model_vector(model))
    for sample in samples:
        images.add(sample)
    return images.vectors()


class _Images:
    def __init__(self, model: ImageTextModel, fit: Fit, vectors: Vectors) -> None:
        self._model, self._fit, self._vectors = model, fit, vectors
        self._waiting: list[Tensor] = []
        self._done: list[Tensor] = []

    def add(self, sample: Sample) -> None:
        self._waiting.append(fit_image(sample.image, self._model.image_side, self._fit))
        if len(self._waiting) == _BATCH:
            self._encode()

    def _encode(self) -> None:
        device = next((value.device for value in getattr(self._model, "parameters", list)()), None)
        self._done.append(self._vectors(torch.stack(self._waiting).to(device)).float().cpu())
        self._waiting = []

    def vectors(self) -> Float[Tensor, "I D"]:
        if self._waiting:
            self._encode()
        return torch.cat(self._done) if self._done else torch.zeros(0, 0)


def _no_captions(found: str) -> DatasetError:
    return DatasetError(
        doing="embedding images and captions",
        found=found,
        expected="at least one caption for every image",
        fix="Leave out images without captions.",
    )
