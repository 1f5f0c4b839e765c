"""Segmenter: what every method is, and the one way from an image and words to a Segmentation."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, TypeAlias, cast, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt8
from torch import Tensor, nn

from lexiseg.core.batch import Batch
from lexiseg.core.explanation import Explanation
from lexiseg.core.features import PatchFeatures
from lexiseg.core.json_text import decode_json
from lexiseg.core.label_maps import label_counts, relabel
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary, Words
from lexiseg.data.images import ImageSource
from lexiseg.data.trained_on import TrainedOn
from lexiseg.inference.class_names import (
    ClassNames,
    competing_labels,
    name_classes,
    no_words,
    refuse_alike,
    with_background,
)
from lexiseg.inference.decision import Decision, Redecision, redecisions_of_scores
from lexiseg.inference.encode import ENCODE_BATCH, EncodedImage
from lexiseg.inference.explain import explain
from lexiseg.inference.grounds import AskedPixel, Grounds, score_grounds
from lexiseg.inference.none_of_these import AbsentScores, refuse_unmeasured
from lexiseg.inference.predict import Upsample, best_classes, grid_scores
from lexiseg.inference.probability import decide_by_probability, refuse_probabilities
from lexiseg.inference.refine import refine_labels
from lexiseg.inference.refine_crf import refine_labels_crf
from lexiseg.inference.results import blocks_of, check_batch_size, encode_sources, segment_block
from lexiseg.inference.reuse import refuse_encoded_otherwise, refuse_half_precision
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.streaming import Streaming
from lexiseg.inference.views import choose_views

_Image: TypeAlias = ImageSource | EncodedImage
_Asked: TypeAlias = Words | ClassNames | None


class Segmenter(Streaming, nn.Module, ABC):
    """Words and pixels in, class scores out; ``segment`` turns them into a label map.

    A method implements the four abstract members. Everything between an image on disk and the
    label map (resizing, windows, background, refinement) is ``inference``'s, the same for all
    methods. A method whose labels do not come from upsampled class scores also overrides ``decide``,
    and says with ``refuse_settings`` and ``redecisions`` what its way of deciding does not allow.

    Attributes:
        name: What ``lexiseg.load`` was asked for.
        settings: Defaults of this model; ``segment`` takes any of their fields as keywords.
        independent_classes: A class's score does not depend on the other classes, so scores may
            be computed for a part of the vocabulary at a time.
        scores_are_products: ``class_scores`` are tokens times class embeddings, and labels follow from them alone.
        has_probabilities: Labels come from the scores of all names at every pixel, which a softmax makes probabilities
            of; a method that decides otherwise says no.
        applies: Steps beyond the common path that the method takes itself, by their keys in the protocols
            that list them.
        vocabulary: The classes of a model that has a fixed list of them; None for one that takes any words.
        trained_on: The files it was trained on; None where that is not known.
        absent_scores: What words score that are not there; None where that was not measured.
        tells_unknown: The method itself points out pixels that resemble nothing it knows.
        notice: A sentence a person must know before trusting results, or None.
        variant: What of the model depends on what is on this machine, in a few words, or None; said beside results.
        method_settings: Settings of the method itself and fingerprints of its weights, for the
            record that goes with every result.
        dtype: Precision in which images are encoded; everything else is computed in float32.
        measure: What the scores are, for those who read an explanation.
        largest_window: Side of the largest windows in which a raster is seen; None takes any.
    """

    name: str
    settings: InferenceSettings
    independent_classes: bool = True
    scores_are_products: bool = False
    has_probabilities: bool = True
    applies: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
    trained_on: TrainedOn | None = None
    absent_scores: AbsentScores | None = None
    tells_unknown: bool = False
    notice: str | None = None
    variant: str | None = None
    method_settings: Mapping[str, Any] = MappingProxyType({})
    dtype: torch.dtype = torch.float32
    measure: str = "score"
    largest_window: int | None = None

    @property
    def scale_settings(self) -> Mapping[str, Any]:
        """Return those of ``method_settings`` that the scale of winning scores depends on: all, unless a method says."""
        return self.method_settings

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels per patch of the grid of ``encode_images``."""

    @property
    def upsample(self) -> Upsample | None:
        """Return the method's own way from features to the scores of pixels; None resizes ``class_scores``."""
        return None

    @abstractmethod
    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] whose sides are multiples of ``stride``."""

    def encode_windows(
        self, images: Float[Tensor, "B 3 H W"], extents: Float[Tensor, "B 4"], *regions: Tensor
    ) -> PatchFeatures:
        """Encode windows of larger images, as images of their own unless a method goes by what lies around.

        ``extents`` says where each lies in its image (``ops.patch_places``): NaN where nothing is known of that, as of a
        raster. ``regions`` are those that ``encode_images`` takes.
        """
        return self.encode_images(images, *regions)

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

    def propose_regions(self, image: UInt8[np.ndarray, "H W 3"]) -> Int32[np.ndarray, "H W"] | None:
        """Cut an image into regions before it is encoded, 0 for pixels of none; None for a method that needs none.

        Where there are regions, ``encode_images`` gets those of its images as a second argument, ``B H W``.
        """
        return None

    def finish_encoding(self, encoded: EncodedImage) -> EncodedImage:
        """Do what needs all windows of an image together; nothing, unless a method says otherwise."""
        return encoded

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Refuse classes the method cannot label with; any will do unless a method says otherwise.

        Args:
            vocabulary: The classes that compete: without a background that goes by a threshold.

        Raises:
            VocabularyError: It cannot.
        """

    def is_missing(self, embeddings: Float[Tensor, "S D"]) -> Bool[Tensor, " S"]:
        """Tell which rows of ``embed_texts`` stand for a name that the method has nothing for: those of zeros."""
        return (embeddings == 0).all(dim=1)

    def encode(self, image: ImageSource, **changes: Any) -> EncodedImage:
        """Encode an image once, to ask ``segment`` for many vocabularies without doing it again.

        Args:
            image: Path, PIL image, numpy ``H W 3`` uint8, tensor ``3 H W``, or the bytes of an image file.
            changes: Fields of ``InferenceSettings`` to change (size and windows matter here).

        Raises:
            ImageError: The image cannot be read.
            InputError: A change cannot be used or would have no effect.
        """
        return encode_sources(self, [image], self._settings(changes))[0]

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Segment, as ``segment`` does; a batch of training goes to the method's loss."""
        is_training = bool(arguments) and isinstance(arguments[0], Batch)
        return super().__call__(*arguments) if is_training else self.segment(*arguments, **keywords)

    @overload
    def segment(self, image: _Image, words: _Asked = None, **changes: Any) -> Segmentation: ...
    @overload
    def segment(
        self, image: Sequence[_Image], words: _Asked = None, **changes: Any
    ) -> list[Segmentation]: ...
    @overload
    def segment(
        self, image: Iterator[_Image], words: _Asked = None, **changes: Any
    ) -> Iterator[Segmentation]: ...
    def segment(
        self,
        image: ImageSource | EncodedImage | Sequence[Any] | Iterator[Any],
        words: Words | ClassNames | None = None,
        *,
        batch_size: int = ENCODE_BATCH,
        all_scores: bool = False,
        **changes: Any,
    ) -> Segmentation | list[Segmentation] | Iterator[Segmentation]:
        """Label every pixel of an image with one of the words.

        Args:
            image: Path, PIL image, numpy ``H W 3`` uint8, tensor ``3 H W``, the bytes of an image file or an open
                one, the result of ``encode``, or a list or iterator of these.
            words: ``"cat, grass"``, a list of names, a mapping from name to synonyms or from label to name
                (``id2label``), or a ``Vocabulary``. None takes all classes of a model that has a fixed list of them.
                For many calls with the same words, what ``name_classes`` gives for them and the same settings.
            batch_size: How many images of a list or iterator are encoded at a time.
            all_scores: Keep the scores of all classes too, on the encoder's grid (``Segmentation.class_scores``).
            changes: Fields of ``InferenceSettings`` to change for this call, for example
                ``background="threshold", threshold=0.2`` or ``refine="none"``. The size and windows
                of an encoded image stay those it was encoded with.

        Returns:
            One ``Segmentation`` at the image's original size; a list for a list; for an iterator, an iterator that
            works on ``batch_size`` images when the next result is asked for.

        Raises:
            ImageError: An image cannot be read.
            VocabularyError: The words cannot be used.
            InputError: There are no words and the model has none of its own. A change cannot be used, would have
                no effect or comes too late for an encoded image, or an image was encoded by another model.
        """
        settings = self._settings(changes)
        refuse_unmeasured(self, settings)
        check_batch_size(batch_size)
        is_sequence = isinstance(image, Sequence) and not isinstance(image, str | bytes)
        # An open file is an iterator too, of lines: it is one image.
        is_stream = isinstance(image, Iterator) and not hasattr(image, "read")
        images: Iterable[Any] = cast(Iterable[Any], image) if is_sequence or is_stream else [image]
        if not is_stream:  # wrong arguments are refused before the first image is worked on
            for item in cast(Sequence[Any], images):
                refuse_encoded_otherwise(item, self.name, changes)
        if isinstance(words, ClassNames):
            class_names = words
        else:
            class_names = self.name_classes(self.own_words() if words is None else words, settings)
        results = (
            result
            for block in blocks_of(images, batch_size)
            for result in segment_block(self, block, class_names, settings, changes, all_scores=all_scores)
        )
        if is_stream:
            return results
        found = list(results)
        return found if is_sequence else found[0]

    def own_words(self) -> Vocabulary:
        """Return the classes that are labelled where no words are given.

        Raises:
            InputError: The model takes any words and has none of its own.
        """
        if self.vocabulary is None:
            raise no_words(self.name)
        return self.vocabulary

    def full_vocabulary(self, words: Words, settings: InferenceSettings) -> Vocabulary:
        """Return what label maps index: the words, and a background where the settings ask for one.

        Raises:
            VocabularyError: The words cannot be used.
        """
        return with_background(Vocabulary.parse(words), settings)

    def name_classes(self, words: Words, settings: InferenceSettings) -> ClassNames:
        """Build what ``decide`` decides between: competing names, owners and embeddings.

        Raises:
            VocabularyError: The words cannot be used, or not by this method, or it cannot tell two apart.
            InputError: Background goes by a threshold and there is none, or no class is left.
        """
        vocabulary = self.full_vocabulary(words, settings)
        labels = competing_labels(vocabulary, settings)
        self.check_vocabulary(vocabulary.subset(labels))
        how: dict[str, Any] = {"background_words": settings.background == "words"}
        class_names = name_classes(vocabulary, labels, self.embed_texts, settings.prompts, **how)
        refuse_alike(class_names, self.is_missing(class_names.embeddings))
        return class_names

    def choose_views(
        self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings
    ) -> EncodedImage:
        """Return what of a tiled image ``decide`` is given, by how well the words are found in it."""
        how: dict[str, Any] = {"settings": settings, "independent_classes": self.independent_classes}
        return choose_views(encoded, self.class_scores, class_names.embeddings, **how)

    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Decide the label of every pixel: upsample the scores once, take the best, move borders to edges.

        A method that decides otherwise, by regions or by whole images, overrides this. A threshold is
        applied to what it returns, by the one who asked.

        Args:
            encoded: The image and its features.
            class_names: What competes.
            settings: The settings that apply to this image.
        """
        how: dict[str, Any] = {"settings": settings, "independent_classes": self.independent_classes}
        if settings.is_by_probability or settings.min_area_share is not None:
            return decide_by_probability(
                encoded, self.class_scores, class_names, **how, upsample=self.upsample
            )
        embeddings, counts = class_names.embeddings, class_names.counts
        labels = np.asarray(class_names.labels, np.uint16)
        own = self.upsample
        best = best_classes(encoded, self.class_scores, embeddings, counts, **how, upsample=own)
        if settings.refine == "none" or len(counts) == 1:
            # Windows are blended at the image that was seen, not on a grid.
            on_grid = settings.window is None and encoded.tiling is None
            return Decision(
                labels=relabel(best.labels, labels),
                scores=best.best,
                grid_scores=(lambda: grid_scores(encoded, self.class_scores, embeddings, counts, **how))
                if on_grid and own is None
                else None,
            )
        winners = np.flatnonzero(label_counts(best.labels, len(counts))[0]).tolist()
        del best  # as large as what comes next
        scores = grid_scores(encoded, self.class_scores, embeddings, counts, winners, **how)
        refine = refine_labels_crf if settings.refine == "crf" else refine_labels
        refined = refine(scores, encoded.image)
        return Decision(labels=relabel(refined.labels, labels[winners]), scores=refined.best)

    def refuse_settings(self, settings: InferenceSettings) -> None:
        """Refuse settings that the method cannot follow, before anything is encoded.

        A method that overrides this asks this one too.

        Raises:
            InputError: It cannot; the message says what it can.
        """
        if not self.has_probabilities:
            refuse_probabilities(self.name, settings)

    def redecisions(self, settings: InferenceSettings) -> frozenset[Redecision]:
        """Return what may be decided again from the scores that a run with these settings keeps.

        A method that overrides ``decide`` states here where its kept scores decide alike.
        """
        return redecisions_of_scores(settings, independent_classes=self.independent_classes)

    def describe(self, words: Words, **changes: Any) -> dict[str, Any]:
        """Return the vocabulary and settings that ``segment`` would record for the same arguments."""
        settings = self._settings(changes)
        vocabulary = self.full_vocabulary(words, settings)
        return {**vocabulary.to_json(), "settings": self._describe(settings)}

    def remembered_bytes(self, encoded: EncodedImage) -> int:
        """Return the memory that the model itself holds for an encoded image, beside what is in it."""
        return 0

    def explain(
        self,
        image: ImageSource | EncodedImage,
        words: Words | ClassNames | None,
        point: tuple[int, int],
        **changes: Any,
    ) -> Explanation:
        """Tell why a pixel gets its label: what decided, the runner-up and the margin.

        Args:
            image: What ``segment`` takes, one of it; an encoded image is asked again in little time.
            words: Likewise.
            point: The pixel, ``(x, y)`` from the upper left corner.
            changes: Likewise.

        Raises:
            InputError: The point is no pixel of the image; and all that ``segment`` raises.
        """
        return explain(self, image, words, point, changes)

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell what decides at a pixel: class scores there, unless a method decides otherwise."""
        return score_grounds(self, asked)

    def _apply(self, fn: Callable[[Tensor], Tensor], *arguments: Any, **keywords: Any) -> "Segmenter":
        """Do what ``to`` and its kind do, but refuse half precision, before a number is changed."""
        refuse_half_precision(fn(torch.zeros(1)), self.name)
        return super()._apply(fn, *arguments, **keywords)  # type: ignore[no-untyped-call]

    def _settings(self, changes: Mapping[str, Any]) -> InferenceSettings:
        settings = self.settings.changed(**changes)
        self.refuse_settings(settings)
        return settings

    def _describe(self, settings: InferenceSettings) -> dict[str, Any]:
        facts = {"model": self.name, **asdict(settings), "method": dict(self.method_settings)}
        if self.variant is not None:
            facts["variant"] = self.variant
        if self.dtype is not torch.float32:
            facts["dtype"] = str(self.dtype).removeprefix("torch.")
        if self.applies:
            facts["applies"] = self.applies
        return decode_json(json.dumps(facts))  # plain values, equal to what is read back from a file
