"""Segmenter: what every method is, and the one way from a picture and words to a Segmentation."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary, Words
from lexiseg.data.images import ImageSource, load_image
from lexiseg.inference.background import competing_classes, paint_background, with_background
from lexiseg.inference.predict import (
    ENCODE_BATCH,
    EncodedImage,
    best_classes,
    encode_images,
    grid_scores,
)
from lexiseg.inference.refine import refine_labels
from lexiseg.inference.refine_crf import refine_labels_crf
from lexiseg.inference.settings import ENCODING_FIELDS, InferenceSettings
from lexiseg.ops.resize import RunningBest


class Segmenter(nn.Module, ABC):
    """Words and pixels in, class scores out; ``segment`` turns them into a label map.

    A method implements the four abstract members. Everything between a picture on disk and the
    label map (resizing, windows, background, refinement) is ``inference``'s, the same for all
    methods.

    Attributes:
        name: What ``lexiseg.load`` was asked for.
        settings: Defaults of this model; ``segment`` takes any of their fields as keywords.
        independent_classes: A class's score does not depend on the other classes, so scores may
            be computed for a part of the vocabulary at a time.
        notice: A sentence a person must know before trusting results, or None.
        method_settings: Settings of the method itself and fingerprints of its weights, for the
            record that goes with every result.
    """

    name: str
    settings: InferenceSettings
    independent_classes: bool = True
    notice: str | None = None
    method_settings: Mapping[str, Any] = MappingProxyType({})

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels per patch of the grid of ``encode_images``."""

    @abstractmethod
    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] whose sides are multiples of ``stride``."""

    @abstractmethod
    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names, one row each, in the space that ``class_scores`` compares in.

        Args:
            names: Class names as written, without templates.
            prompts: Name of the prompt set to fill with each.
        """

    @abstractmethod
    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Score every name at every patch; higher wins; the scale is the method's own."""

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Refuse a vocabulary the method cannot label with; any will do unless a method says otherwise.

        Raises:
            VocabularyError: It cannot.
        """

    def encode(self, image: ImageSource, **changes: Any) -> EncodedImage:
        """Encode a picture once, to ask ``segment`` for many vocabularies without doing it again.

        Args:
            image: Path, PIL image, numpy ``H W 3`` uint8 or tensor ``3 H W``.
            changes: Fields of ``InferenceSettings`` to change (size and windows matter here).

        Raises:
            ImageError: The picture cannot be read.
            InputError: A change cannot be used or would have no effect.
        """
        return self._encode([image], self.settings.changed(**changes))[0]

    @overload
    def segment(self, image: ImageSource | EncodedImage, words: Words, **changes: Any) -> Segmentation: ...
    @overload
    def segment(
        self, image: Sequence[ImageSource | EncodedImage], words: Words, **changes: Any
    ) -> list[Segmentation]: ...
    def segment(
        self,
        image: ImageSource | EncodedImage | Sequence[ImageSource | EncodedImage],
        words: Words,
        **changes: Any,
    ) -> Segmentation | list[Segmentation]:
        """Label every pixel of a picture with one of the words.

        Args:
            image: Path, PIL image, numpy ``H W 3`` uint8, tensor ``3 H W``, the result of
                ``encode``, or a list of these, which are worked on a few at a time.
            words: ``"cat, grass"``, a list of names, a mapping from name to synonyms, or a
                ``Vocabulary``.
            changes: Fields of ``InferenceSettings`` to change for this call, for example
                ``background="threshold", threshold=0.2`` or ``refine="none"``. The size and windows
                of an encoded picture stay those it was encoded with.

        Returns:
            One ``Segmentation`` at the picture's original size; a list for a list.

        Raises:
            ImageError: A picture cannot be read.
            VocabularyError: The words cannot be used.
            InputError: A change cannot be used, would have no effect or comes too late for an encoded
                picture, or a picture was encoded by another model.
        """
        settings = self.settings.changed(**changes)
        is_batch = isinstance(image, Sequence) and not isinstance(image, str)
        images = cast(list[ImageSource | EncodedImage], list(image) if is_batch else [image])  # type: ignore[arg-type]
        for item in images:
            if isinstance(item, EncodedImage):
                self._refuse_encoded_otherwise(item, changes)
        vocabulary = with_background(Vocabulary.parse(words), settings)
        competing = competing_classes(vocabulary, settings)
        places = [place for place, label in enumerate(competing) if label == vocabulary.background]
        self.check_vocabulary(vocabulary)
        names = vocabulary.all_names()
        counts = [len(names[label]) for label in competing]
        embeddings = self.embed_texts(
            [name for label in competing for name in names[label]], settings.prompts
        )
        results = []
        for start in range(0, len(images), ENCODE_BATCH):
            block = images[start : start + ENCODE_BATCH]
            fresh = iter(
                self._encode([item for item in block if not isinstance(item, EncodedImage)], settings)
            )
            for item in block:
                encoded = item if isinstance(item, EncodedImage) else next(fresh)
                used = _as_encoded(settings, encoded)
                best = self._label(encoded, embeddings, counts, used, background=next(iter(places), None))
                best = RunningBest(labels=np.asarray(competing, np.uint16)[best.labels], best=best.best)
                paint_background(best, vocabulary, used)
                results.append(
                    Segmentation(
                        label_map=best.labels,
                        score_map=best.best,
                        vocabulary=vocabulary,
                        image=encoded.image,
                        source=encoded.source,
                        settings=self._describe(used),
                    )
                )
        return results if is_batch else results[0]

    def describe(self, words: Words, **changes: Any) -> dict[str, Any]:
        """Give the vocabulary and settings that ``segment`` would record for the same arguments."""
        settings = self.settings.changed(**changes)
        vocabulary = with_background(Vocabulary.parse(words), settings)
        return {**vocabulary.to_json(), "settings": self._describe(settings)}

    def _describe(self, settings: InferenceSettings) -> dict[str, Any]:
        facts = {"model": self.name, **asdict(settings), "method": dict(self.method_settings)}
        return json.loads(json.dumps(facts))  # plain values, equal to what is read back from a file

    def _encode(self, images: Sequence[ImageSource], settings: InferenceSettings) -> list[EncodedImage]:
        return encode_images(
            self.encode_images,
            [load_image(image) for image in images],
            [Path(image) if isinstance(image, str | Path) else None for image in images],
            model=self.name,
            stride=self.stride,
            settings=settings,
            device=next(iter(self.parameters()), torch.empty(0)).device,
        )

    def _refuse_encoded_otherwise(self, encoded: EncodedImage, changes: Mapping[str, Any]) -> None:
        if encoded.model != self.name:
            raise _encoded_otherwise(f"features of {encoded.model}", f"features of {self.name}")
        for name in ENCODING_FIELDS:
            there = getattr(encoded.settings, name)
            if name in changes and changes[name] != there:
                found = f"{name} = {changes[name]!r} for a picture encoded with {there!r}"
                raise _encoded_otherwise(found, "the same, because size and windows are fixed by then")

    def _label(
        self,
        encoded: EncodedImage,
        embeddings: Float[Tensor, "S D"],
        counts: list[int],
        settings: InferenceSettings,
        *,
        background: int | None = None,
    ) -> RunningBest:
        """Find the best competing class of every pixel, then move borders to image edges.

        A method that decides otherwise, by regions or by whole pictures, overrides this.

        Args:
            encoded: The picture and its features.
            embeddings: One row a name; the names of a class are neighbours.
            counts: Names of each competing class.
            settings: The settings that apply to this picture.
            background: Which competing class means background, if one does.
        """
        how: dict[str, Any] = {"settings": settings, "independent_classes": self.independent_classes}
        best = best_classes(encoded, self.class_scores, embeddings, counts, **how)
        if settings.refine == "none" or len(counts) == 1:
            return best
        winners = np.flatnonzero(np.bincount(best.labels.ravel())).tolist()
        scores = grid_scores(encoded, self.class_scores, embeddings, counts, winners, **how)
        refine = refine_labels_crf if settings.refine == "crf" else refine_labels
        refined = refine(scores, encoded.image)
        return RunningBest(labels=np.asarray(winners, np.uint16)[refined.labels], best=refined.best)


def _as_encoded(settings: InferenceSettings, encoded: EncodedImage) -> InferenceSettings:
    """Give the settings that really apply to an encoded picture: its own size and windows."""
    return replace(settings, **{name: getattr(encoded.settings, name) for name in ENCODING_FIELDS})


def _encoded_otherwise(found: str, expected: str) -> InputError:
    return InputError(
        doing="segmenting an encoded picture",
        found=found,
        expected=expected,
        fix="Encode the picture again, with this model and these settings, or give it without encoding.",
    )
