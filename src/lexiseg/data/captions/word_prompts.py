"""Words of a caption as sentences of their own: what the multi-label loss of GroupViT is asked with.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. Of the words that a tagger
finds in a caption a few are drawn, by position and without replacement, and each is put into a template drawn
from a prompt set. Where there are fewer words, the caption itself takes the places that are left.

Two taggers: NLTK's part-of-speech tagger, as in the released code, and a list of words, whose longest phrases
are looked for in the caption (ours, where NLTK or its data is not installed).
"""

import hashlib
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from lexiseg.core.errors import InputError, MissingPackageError
from lexiseg.ops.prompts import fill_one, find_prompt_set


@runtime_checkable
class MakeTexts(Protocol):
    """Makes further sentences about an image. Crosses process borders; its ``repr`` changes with what it makes."""

    def __call__(self, source: str, caption: str, rng: np.random.Generator) -> tuple[str, ...]:
        """Make them, the same number for every image.

        Args:
            source: Where the image came from.
            caption: Its caption.
            rng: Random numbers of this image at this visit.
        """

    def describe(self) -> str:
        """Say what makes them, for the record of a run."""


_NOUNS = frozenset({"NN", "NNS", "NNP"})
_VERBS = frozenset({"VB", "VBD", "VBG", "VBN", "VBP", "VBZ"})
_WORD = re.compile(r"\w+(?:['-]\w+)*")
#: Longest phrase of a list of words that is looked for.
_MAX_WORDS = 4


class Tagger(ABC):
    """Finds the words of a caption that may be asked for. Crosses process borders."""

    @abstractmethod
    def words(self, caption: str) -> list[str]:
        """Return the words in their order; one that comes twice is given twice."""

    @abstractmethod
    def describe(self) -> str:
        """Say what finds them, for the record of a run; changes when the result may."""


@dataclass(frozen=True)
class NltkTagger(Tagger):
    """NLTK's tokeniser and tagger of English words.

    Attributes:
        tags: ``nouns`` as the paper says (NN, NNS, NNP), or ``nouns_and_verbs`` as its released code takes.

    Raises:
        MissingPackageError: NLTK or the data of its tagger is not installed.
    """

    tags: Literal["nouns", "nouns_and_verbs"] = "nouns_and_verbs"

    def __post_init__(self) -> None:
        if not nltk_is_ready():
            raise MissingPackageError(
                doing="finding the nouns of captions",
                found="no NLTK with the data of its tagger",
                expected="the package nltk and its averaged_perceptron_tagger_eng",
                fix="Run: pip install nltk && python -m nltk.downloader averaged_perceptron_tagger_eng; or use "
                "tagger=word_list.",
            )

    def words(self, caption: str) -> list[str]:
        """Return the words whose tag is wanted, as written."""
        nltk, tokenizer = _nltk()
        wanted = _NOUNS if self.tags == "nouns" else _NOUNS | _VERBS
        return [word for word, tag in nltk.pos_tag(tokenizer.tokenize(caption)) if tag in wanted]

    def describe(self) -> str:
        """Name NLTK, its version and the tags."""
        return f"nltk {_nltk()[0].__version__} {self.tags}"


class WordListTagger(Tagger):
    """Words and phrases of a list, the longest first; lower case, singular or with an s.

    Args:
        words: The list; phrases have at most four words.
    """

    def __init__(self, words: Collection[str]) -> None:
        self._known = {" ".join(_WORD.findall(word.casefold())) for word in words} - {""}
        if not self._known:
            raise InputError(
                doing="looking for words in captions",
                found="an empty list of words",
                expected="at least one word",
                fix="Give the names that captions may speak of.",
            )
        self._longest = min(_MAX_WORDS, max(word.count(" ") + 1 for word in self._known))

    def words(self, caption: str) -> list[str]:
        """Return the phrases of the list from left to right; those found do not overlap."""
        units = _WORD.findall(caption.casefold())
        found, place = [], 0
        while place < len(units):
            for length in range(min(self._longest, len(units) - place), 0, -1):
                phrase = " ".join(units[place : place + length])
                if phrase in self._known or phrase.removesuffix("s") in self._known:
                    found.append(phrase)
                    place += length
                    break
            else:
                place += 1
        return found

    def describe(self) -> str:
        """Return the number of words and a hash of them."""
        digest = hashlib.sha256("\n".join(sorted(self._known)).encode()).hexdigest()[:16]
        return f"list of {len(self._known)} words {digest}"

    def __repr__(self) -> str:
        return f"WordListTagger({self.describe()})"


@dataclass(frozen=True, kw_only=True)
class WordPrompts:
    """Draws words of a caption and makes sentences of them.

    Attributes:
        tagger: Finds the words.
        count: Sentences an image.
        prompts: Name of the prompt set that templates are drawn from.
    """

    tagger: Tagger
    count: int = 3
    prompts: str = "imagenet80"

    def __call__(self, source: str, caption: str, rng: np.random.Generator) -> tuple[str, ...]:
        """Return ``count`` sentences; ``source`` is not looked at."""
        return prompted(self.tagger.words(caption), caption, rng, count=self.count, prompts=self.prompts)

    def describe(self) -> str:
        """Name the tagger."""
        return self.tagger.describe()


def prompted(
    words: list[str], caption: str, rng: np.random.Generator, *, count: int, prompts: str
) -> tuple[str, ...]:
    """Draw words without replacement, put each into a template, and fill up with the caption.

    Args:
        words: To draw from, by position.
        caption: For the places without a word.
        rng: Of this image.
        count: Sentences wanted.
        prompts: Name of the prompt set; every sentence draws a template of its own.
    """
    templates = find_prompt_set(prompts)
    drawn = rng.permutation(len(words))[:count]
    texts = [
        fill_one(templates, words[int(place)], int(rng.integers(len(templates.templates)))) for place in drawn
    ]
    return (*texts, *[caption] * (count - len(texts)))


def nltk_is_ready() -> bool:
    """Return whether NLTK and the data of its English tagger are installed."""
    if importlib.util.find_spec("nltk") is None:
        return False
    import nltk

    try:
        nltk.data.find("taggers/averaged_perceptron_tagger_eng")
    except LookupError:
        return False
    return True


def _nltk() -> tuple[Any, Any]:
    import nltk

    # Its word_tokenize cuts into sentences first, which needs further data; captions are one.
    return nltk, nltk.NLTKWordTokenizer()
