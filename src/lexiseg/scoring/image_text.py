"""Images and sentences as vectors, for what image-text models are scored by beside label maps."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.interfaces import ImageTextModel
from lexiseg.data.transforms import resize_image

#: Images, and sentences, encoded in one call.
_BATCH = 64


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
    model: ImageTextModel, samples: Iterable[Sample], *, advance: Callable[[], None] = lambda: None
) -> EmbeddedPairs:
    """Embed every image and every caption of it.

    Args:
        model: In eval mode.
        samples: Read one at a time.
        advance: Called after each image.

    Raises:
        DatasetError: There is no sample, or one without a caption.
    """
    sentences: list[str] = []
    owners: list[int] = []
    images = _Images(model)
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


@torch.inference_mode()
def embed_images(model: ImageTextModel, samples: Iterable[Sample]) -> Float[Tensor, "I D"]:
    """Embed images only."""
    images = _Images(model)
    for sample in samples:
        images.add(sample)
    return images.vectors()


class _Images:
    def __init__(self, model: ImageTextModel) -> None:
        self._model = model
        self._waiting: list[Tensor] = []
        self._done: list[Tensor] = []

    def add(self, sample: Sample) -> None:
        side = self._model.image_side
        self._waiting.append(resize_image(sample.image, (side, side)))
        if len(self._waiting) == _BATCH:
            self._encode()

    def _encode(self) -> None:
        device = next((value.device for value in getattr(self._model, "parameters", list)()), None)
        vectors = self._model.encode_images(torch.stack(self._waiting).to(device)).global_token
        assert vectors is not None, "a model without a vector for whole images"
        self._done.append(vectors.float().cpu())
        self._waiting = []

    def vectors(self) -> Float[Tensor, "I D"]:
        if self._waiting:
            self._encode()
        return torch.cat(self._done)


def _no_captions(found: str) -> DatasetError:
    return DatasetError(
        doing="embedding images and captions",
        found=found,
        expected="at least one caption for every image",
        fix="Leave out images without captions.",
    )
