"""The concepts that curation looks for in captions, and finding them: 1- to 4-grams of a caption that are in a list."""

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from lexiseg.core.errors import VocabularyError
from lexiseg.data.class_lists import imagenet_classes, packaged_names, packaged_vocabulary

#: Longest concept, in words.
MAX_WORDS = 4
#: Lists that come with the package: WordNet's concrete nouns with the class lists, and without.
NOUNS, WORDNET = "nouns", "wordnet"

_WORD = re.compile(r"\w+(?:['-]+\w+)*'?")
_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "foot": "feet", "tooth": "teeth",
    "goose": "geese", "mouse": "mice", "ox": "oxen", "leaf": "leaves", "loaf": "loaves", "knife": "knives",
    "wife": "wives", "life": "lives", "wolf": "wolves", "shelf": "shelves", "half": "halves", "calf": "calves",
    "sheep": "sheep", "deer": "deer", "fish": "fish", "people": "people", "skis": "skis",
}  # fmt: skip


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words; hyphens and apostrophes inside a word stay."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def plural(name: str) -> str:
    """Make the plural of the last word of a name, by the usual rules and a few exceptions."""
    head, space, word = name.rpartition(" ")
    if word in _IRREGULAR:
        return head + space + _IRREGULAR[word]
    if (
        word.endswith("man")
        and word != "human"
        and not word.endswith(("german", "roman", "ottoman", "shaman"))
    ):
        return head + space + word[:-3] + "men"
    if re.search(r"[^aeiou]y$", word):
        return head + space + word[:-1] + "ies"
    return head + space + word + ("es" if re.search(r"(?:s|x|z|ch|sh)$", word) else "s")


@dataclass(frozen=True, kw_only=True)
class ConceptVocabulary:
    """Concepts in a fixed order; a concept's number is its place.

    Attributes:
        name: Where they come from: ``nouns``, ``wordnet``, or the path of a file.
        concepts: Lower case, words separated by one space.
        too_long: Concepts of more than four words, which are left out because no caption is searched for them.
    """

    name: str
    concepts: tuple[str, ...]
    too_long: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.concepts)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {concept: number for number, concept in enumerate(self.concepts)}

    @cached_property
    def _lengths(self) -> dict[str, int]:
        """Give, for each first word of a concept, the most words of a concept that begins with it."""
        longest: dict[str, int] = {}
        for concept in self.concepts:
            words = concept.split(" ")
            longest[words[0]] = max(longest.get(words[0], 0), len(words))
        return longest

    def fingerprint(self) -> str:
        """Hash the concepts: 64 hexadecimal digits."""
        return hashlib.sha256("\n".join(self.concepts).encode()).hexdigest()

    def find(self, captions: Iterable[str]) -> list[int]:
        """List the numbers of the concepts that captions of one image name, each once, in order of appearance."""
        found: dict[int, None] = {}
        for caption in captions:
            words = words_of(caption)
            for first, word in enumerate(words):
                longest = min(self._lengths.get(word, 0), len(words) - first, MAX_WORDS)
                for length in range(1, longest + 1):
                    gram = word if length == 1 else " ".join(words[first : first + length])
                    if (number := self._numbers.get(gram)) is not None:
                        found.setdefault(number)
        return list(found)

    def leak(self) -> dict[str, tuple[int, int]]:
        """Count, for each class list of the package, how many of its classes are named by a concept.

        Returns:
            By list: classes of which a name or synonym is a concept, and classes in all, background left out. The
            test images of these benchmarks are not used, but their words are: it belongs beside every result.
        """
        known = self._numbers
        return {
            name: (sum(any(form in known for form in forms) for forms in classes), len(classes))
            for name, classes in _class_lists().items()
        }


def load_concepts(name: str | Path = NOUNS, *, plurals: bool = True) -> ConceptVocabulary:
    """Load a list of concepts.

    Args:
        name: ``nouns`` (concrete nouns of WordNet and the class lists of this package), ``wordnet`` (without the
            class lists), or a file with one concept a line; # begins a comment.
        plurals: Add the plural of each concept's last word, where it is new, as a concept of its own.

    Raises:
        VocabularyError: The file cannot be read, or no usable concept is in it.
    """
    if name in (NOUNS, WORDNET):
        lines = _packaged_nouns()
        if name == NOUNS:
            lines += [form for classes in _class_lists().values() for forms in classes for form in forms]
    else:
        lines = _read_lines(Path(name))
    wanted: dict[str, None] = {}
    too_long: dict[str, None] = {}
    for line in lines:
        words = words_of(line)
        if words:
            (wanted if len(words) <= MAX_WORDS else too_long).setdefault(" ".join(words))
    if not wanted:
        raise _error(
            Path(name),
            f"no concept of one to {MAX_WORDS} words in {len(lines):,} lines",
            "Write one concept a line.",
        )
    if plurals:
        for concept in list(wanted):
            wanted.setdefault(plural(concept))
    return ConceptVocabulary(name=str(name), concepts=tuple(wanted), too_long=tuple(too_long))


def _packaged_nouns() -> list[str]:
    data = files("lexiseg.data").joinpath("concept_lists", "wordnet_nouns.txt.gz").read_bytes()
    return list(_without_comments(gzip.decompress(data).decode().splitlines()))


def _class_lists() -> Mapping[str, Sequence[Sequence[str]]]:
    """Return the class lists of the package, each class with its names as they are looked for."""
    lists: dict[str, list[list[str]]] = {
        "imagenet1k": [[" ".join(words_of(each.name))] for each in imagenet_classes()]
    }
    for name in packaged_names():
        vocabulary = packaged_vocabulary(name)
        lists[name] = [
            [" ".join(words_of(form)) for form in forms]
            for label, forms in enumerate(vocabulary.all_names())
            if label != vocabulary.background
        ]
    return lists


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode()
    except OSError as error:
        raise _error(
            path, error.strerror or str(error), f"Give a file, or one of {NOUNS}, {WORDNET}."
        ) from error
    except UnicodeDecodeError as error:
        raise _error(path, f"a byte that is not UTF-8 at {error.start}", "Save it as UTF-8.") from error
    return list(_without_comments(text.splitlines()))


def _without_comments(lines: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _error(path: Path, found: str, fix: str) -> VocabularyError:
    return VocabularyError(
        doing=f"reading the concepts in {path}",
        found=found,
        expected="a text file with one concept a line",
        fix=fix,
    )
