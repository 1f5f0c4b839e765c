"""ClosedVocabularySegmenter: a network with a fixed list of classes, asked with some of them.

Words choose among the classes that the network was trained with. Where background competes by its name
(``background="name"``), the classes that nobody asked for are what it consists of: they win the pixels that are
theirs, and those become background. Without that, one word alone would label the whole image.
"""

from abc import ABC
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.vocabulary import Vocabulary, Words
from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.decision import Decision
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.similarity import similarity_map


class ClosedVocabularySegmenter(Segmenter, ABC):
    """A fixed vocabulary: a patch is its scores for all classes; a word is the column of its class.

    Attributes:
        vocabulary: The classes, in the order of the channels of ``encode_images``.
    """

    vocabulary: Vocabulary

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S K"]:
        """Assign each name the column of its class: a row with a single 1; zeros for an unknown synonym."""
        columns = [self._column(name) for name in names]
        embeddings = torch.zeros(len(names), len(self.vocabulary))
        for row, column in enumerate(columns):
            if column is not None:
                embeddings[row, column] = 1
        return embeddings.to(next(iter(self.parameters()), embeddings).device)

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Choose the columns of the scores."""
        return similarity_map(features.tokens, embeddings, features.grid)

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Refuse classes that the model was not trained with, by their name or a synonym.

        Raises:
            VocabularyError: A class is unknown, or two classes are one of the model's.
        """
        owners: dict[int, str] = {}
        for words in vocabulary.all_names():
            column = self._column_of_class(words)
            if column is None:
                known = self.vocabulary.names
                raise VocabularyError(
                    doing=f"labelling with {self.name}",
                    found=f"the class {words[0]!r}, which it was not trained with",
                    expected=f"some of its {len(known)} classes: {', '.join(known[:20])}{', …' if len(known) > 20 else ''}",
                    fix="Use its own names, or a model that takes any words.",
                )
            earlier = owners.setdefault(column, words[0])
            if earlier != words[0]:
                raise VocabularyError(
                    doing=f"labelling with {self.name}",
                    found=f"{earlier!r} and {words[0]!r}, which are both its class {self.vocabulary.names[column]!r}",
                    expected="every class of the model once",
                    fix="Leave one out, or make it a synonym of the other.",
                )

    def refuse_settings(self, settings: InferenceSettings) -> None:
        """Refuse stuff words as background: its own classes that nobody asked for are what it consists of.

        Raises:
            InputError: ``background`` is ``words``.
        """
        super().refuse_settings(settings)
        if settings.background == "words":
            raise InputError(
                doing=f"labelling with {self.name}",
                found="background words, for a model that knows its own classes alone",
                expected="none, name (its other classes are the background), threshold or probability",
                fix="Use --background name.",
            )

    def full_vocabulary(self, words: Words, settings: InferenceSettings) -> Vocabulary:
        """Return the classes of the words, with a background only where it would consist of something."""
        vocabulary = Vocabulary.parse(words)
        if settings.background == "name" and vocabulary.background is None and not self._left(vocabulary):
            return vocabulary
        return super().full_vocabulary(vocabulary, settings)

    def name_classes(self, words: Words, settings: InferenceSettings) -> ClassNames:
        """Build what competes: the words, and as names of the background the classes that are not among them.

        Raises:
            VocabularyError: A class is unknown, or two classes are one of the model's.
            InputError: Background goes by a threshold and there is none, or no class is left.
        """
        asked = Vocabulary.parse(words)
        left = self._left(asked)
        if settings.background != "name" or not left:
            plain = replace(settings, background="none") if settings.background == "name" else settings
            return super().name_classes(asked, plain)
        vocabulary = self.full_vocabulary(asked, settings)
        label = vocabulary.background
        assert label is not None
        things = super().name_classes(
            vocabulary.subset([each for each in range(len(vocabulary)) if each != label]),
            replace(settings, background="none"),
        )
        names, owner = [], []
        for name, place in zip(things.names, things.owner, strict=True):
            names.append(name)
            owner.append(place if place < label else place + 1)
        start = next((at for at, each in enumerate(owner) if each > label), len(owner))
        return ClassNames(
            vocabulary=vocabulary,
            names=(*names[:start], *left, *names[start:]),
            owner=(*owner[:start], *(label for _ in left), *owner[start:]),
            embeddings=torch.cat(
                [
                    things.embeddings[:start],
                    self.embed_texts(left, settings.prompts),
                    things.embeddings[start:],
                ]
            ),
        )

    def decide(self, encoded: EncodedImage, class_names: ClassNames, settings: InferenceSettings) -> Decision:
        """Decide as every model does; of several names of a class the best counts: they are columns, not texts."""
        return super().decide(encoded, class_names, replace(settings, synonyms="max"))

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell what the columns of the classes say; of several names of a class the best counts."""
        return super().grounds(replace(asked, settings=replace(asked.settings, synonyms="max")))

    def _left(self, asked: Vocabulary) -> list[str]:
        """List the classes that were not asked for, those a person calls background among them."""
        taken = {
            self._column_of_class(words)
            for label, words in enumerate(asked.all_names())
            if label != asked.background
        }
        return [name for column, name in enumerate(self.vocabulary.names) if column not in taken]

    def _column_of_class(self, words: Sequence[str]) -> int | None:
        return next((found for word in words if (found := self._column(word)) is not None), None)

    def _column(self, name: str) -> int | None:
        try:
            return self.vocabulary.index(name)
        except VocabularyError:
            return None
