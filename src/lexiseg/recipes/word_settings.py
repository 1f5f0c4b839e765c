"""WordSettings: which words of captions are asked for on their own, as a recipe's field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.word_prompts import (
    NltkTagger,
    Tagger,
    WordListTagger,
    WordPrompts,
    nltk_is_ready,
)
from lexiseg.data.class_lists import imagenet_classes, packaged_names, packaged_vocabulary


@dataclass(frozen=True, kw_only=True)
class WordSettings:
    """Which words of a caption are asked for on their own.

    Attributes:
        tagger: ``nltk`` finds parts of speech, as published; ``word_list`` looks for the words of a list; ``auto``
            takes NLTK where it and its data are installed. ``data.json`` of a run says which it was.
        tags: With NLTK: ``nouns`` (the paper), or ``nouns_and_verbs`` (its released code).
        words: A list of words and phrases, one a line; none takes the names of ImageNet and of the class lists
            that come with this package.
        count: Word prompts an image.
        prompts: Prompt set that words are put into.
    """

    tagger: Literal["auto", "nltk", "word_list"] = "auto"
    tags: Literal["nouns", "nouns_and_verbs"] = "nouns_and_verbs"
    words: Path | None = None
    count: int = 3
    prompts: str = "imagenet80"

    def build(self) -> WordPrompts:
        """Build what makes word prompts.

        Raises:
            MissingPackageError: NLTK is asked for and is not installed, or its data is not.
            InputError: The list of words cannot be read.
        """
        return WordPrompts(tagger=self._tagger(), count=self.count, prompts=self.prompts)

    def _tagger(self) -> Tagger:
        if self.tagger == "nltk" or (self.tagger == "auto" and self.words is None and nltk_is_ready()):
            return NltkTagger(self.tags)
        if self.words is None:
            return WordListTagger(_packaged_words())
        return WordListTagger(
            [name for names in Vocabulary.from_file(self.words).all_names() for name in names]
        )


def _packaged_words() -> list[str]:
    classes = [name for each in imagenet_classes() for name in (each.name, each.kind) if name is not None]
    lists = [name for file in packaged_names() for name in packaged_vocabulary(file).names]
    return [*classes, *lists]
