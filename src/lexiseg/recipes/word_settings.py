"""WordSettings: which words of captions are asked for on their own, as a recipe's field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.captions.word_prompts import (
    NltkTagger,
    Tagger,
    WordListTagger,
    WordPrompts,
    nltk_is_ready,
)
from lexiseg.data.curation.concept_vocabulary import NOUNS, load_concepts
from lexiseg.data.curation.curated_prompts import CuratedPrompts
from lexiseg.data.curation.drawing_concepts import Sampling

_RANGES = {
    "count": Range(least=1, most=1_000_000),
}


@dataclass(frozen=True, kw_only=True)
class WordSettings:
    """Which words of a caption are asked for on their own.

    Attributes:
        tagger: ``nltk`` finds parts of speech, as published; ``word_list`` looks for the words of a list; ``auto``
            takes NLTK where it and its data are installed. ``data.json`` of a run says which it was.
        tags: With NLTK: ``nouns`` (the paper), or ``nouns_and_verbs`` (its released code).
        words: Which list: ``nouns`` (concrete nouns of WordNet and the class lists of this package), ``wordnet``
            (without the class lists, which name the classes of benchmarks), or a file with one word or phrase a line.
        count: Word prompts an image.
        prompts: Prompt set that words are put into.
    """

    tagger: Literal["auto", "nltk", "word_list"] = "auto"
    tags: Literal["nouns", "nouns_and_verbs"] = "nouns_and_verbs"
    words: str = NOUNS
    count: int = 3
    prompts: str = "imagenet80"

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="words")

    def build(self) -> WordPrompts:
        """Build what makes word prompts.

        Raises:
            MissingPackageError: NLTK is asked for and is not installed, or its data is not.
            VocabularyError: The list of words cannot be read.
        """
        return WordPrompts(tagger=self._tagger(), count=self.count, prompts=self.prompts)

    def _tagger(self) -> Tagger:
        if self.tagger == "nltk" or (self.tagger == "auto" and nltk_is_ready()):
            return NltkTagger(self.tags)
        return WordListTagger(load_concepts(self.words).concepts)


@dataclass(frozen=True, kw_only=True)
class CurationSettings:
    """Words from curated concepts, in place of the caption's own.

    Attributes:
        folder: What ``lexiseg curate`` wrote for the captions that are trained on.
        sampling: How concepts are drawn at each visit: ``cluster`` from different clusters (the paper), ``softmax``
            by their scores, ``top`` always the best (the released code).
    """

    folder: Path = Path("curated")
    sampling: Sampling = "cluster"

    def build(self, words: WordSettings) -> CuratedPrompts:
        """Build what makes word prompts; their number and prompt set are those of ``words``.

        Raises:
            DatasetError: The curation is not finished.
        """
        return CuratedPrompts(self.folder, sampling=self.sampling, count=words.count, prompts=words.prompts)
