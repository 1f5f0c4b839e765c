"""Vocabulary: the ordered class names a segmentation indexes, and class names as people write them on one line."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from lexiseg.core.class_list_files import class_list_entries
from lexiseg.core.constants import MAX_CLASSES
from lexiseg.core.errors import VocabularyError
from lexiseg.core.whole_numbers import whole_number
from lexiseg.core.word_lists import quoted, shortened, split_words

MAX_NAME_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ordered class names; label ``k`` means ``names[k]``.

    Attributes:
        names: One name a class, in label order; unique ignoring case and spacing.
        synonyms: Further names of each class, same length as ``names``.
        background: Index of the class that means background, or None.
        seen: Indices of the classes that have masks, or None where there is no split.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...] = field(default=())
    background: int | None = None
    seen: frozenset[int] | None = None

    def __post_init__(self) -> None:
        names = tuple(
            _clean(name, f"class {index}") for index, name in enumerate(_listed(self.names, "names"))
        )
        synonyms = _listed(self.synonyms, "synonyms") or ((),) * len(names)
        if len(synonyms) != len(names):
            raise _unusable(
                f"synonyms of {len(synonyms)} classes for {len(names)} names",
                "one entry a class, () where there is none",
                "Give {name: synonyms} to Vocabulary.parse instead.",
            )
        cleaned = tuple(
            tuple(
                _clean(word, f"a synonym of {name!r}")
                for word in _listed(words, f"the synonyms of {shortened(name)}")
            )
            for name, words in zip(names, synonyms, strict=True)
        )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "synonyms", cleaned)
        if self.background is None:
            keys = [_key(name) for name in names]
            if "background" in keys:
                object.__setattr__(self, "background", keys.index("background"))
        self._refuse_unusable()

    def _refuse_unusable(self) -> None:
        if not self.names:
            raise _unusable(
                "no class name at all",
                "one or more names",
                'Give words such as --words "cat, grass, sky".',
            )
        if len(self.names) > MAX_CLASSES:
            raise _unusable(
                f"{len(self.names)} names",
                f"at most {MAX_CLASSES}, which is what a 16-bit label map can hold",
                "Split the vocabulary into several runs.",
            )
        first: dict[str, int] = {}
        for index, name in enumerate(self.names):
            earlier = first.setdefault(_key(name), index)
            if earlier != index:
                raise _unusable(
                    f"{name!r} as class {index}, which is already class {earlier} ({self.names[earlier]!r})",
                    "every class name once (upper and lower case and spacing count as equal)",
                    "Remove one of them, or list it as a synonym after a tab in a classes file.",
                )
        # Whatever synonyms they share, classes whose names are their own can win. Words of background are
        # the exception: published code lists among them words that are classes too (SCLIP's "bed").
        for index, word, owner in _names_of_others(self.names, self.synonyms):
            if index != self.background:
                raise _unusable(
                    f"{word!r} as a synonym of {self.names[index]!r} and as class {owner}",
                    "every class name for one class only: where two classes share it, one can never win",
                    "Remove the synonym or the class.",
                )
        labels = {"background": [self.background], "seen": self.seen or ()}
        for field_name, given in labels.items():
            for label in given:
                if label is not None and label not in range(len(self)):
                    raise _unusable(
                        f"{field_name} = {label!r} among {len(self)} names",
                        f"a label from 0 to {len(self) - 1}",
                        "Count the names from 0.",
                    )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def parse(cls, words: "Words") -> "Vocabulary":
        """Build a vocabulary from what a person would write.

        Args:
            words: ``"cat, grass"`` (commas separate, double quotes protect a comma:
                ``'"salt, pepper", cat'``), a sequence of names taken as they are, a mapping from
                name to synonyms (a sequence, or one string with commas) or from label to name
                (``id2label``: keys 0, 1, …, as numbers or strings), or a vocabulary.

        Raises:
            VocabularyError: A name is empty, repeated, too long or holds a line break, a synonym is
                the name of another class, or the words have no order, as a set has none.
        """
        match words:
            case Vocabulary():
                return words
            case str():
                return cls(names=tuple(split_words(words)))
            case Mapping() if (names := _by_label(words)) is not None:
                return cls(names=names)
            case Mapping():
                synonyms = tuple(
                    _listed(split_words(more) if isinstance(more, str) else more, f"the synonyms of {name!r}")
                    for name, more in words.items()
                )
                return cls(names=tuple(words), synonyms=synonyms)  # type: ignore[arg-type]  # a wrong name is refused
            case _:
                return cls(names=_listed(words, "words"))

    @classmethod
    def from_file(cls, path: str | Path) -> "Vocabulary":
        """Read a classes file: one class a line in label order; synonyms after a tab, comma-separated.

        Lines numbered 0, 1, …, a table with a header, JSON (a list, ``id2label``) and labelme's list are read as
        well. A synonym that is another class's name is left out: the word means the class of that name.

        Raises:
            VocabularyError: The file cannot be read as UTF-8 text, its form is not certain, or a line cannot
                be used.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(
                doing=f"reading the classes file {path}",
                found=str(error),
                expected="a UTF-8 text file with one class name a line",
                fix="Check the path and save the file as UTF-8.",
            ) from error
        try:
            entries = class_list_entries(text)
            names, synonyms = [name for name, _ in entries], [more for _, more in entries]
            return cls(names=tuple(names), synonyms=without_names_of_others(names, synonyms))
        except VocabularyError as error:
            raise VocabularyError(
                doing=f"reading the classes file {path} (class 0 is line 1)",
                found=error.found,
                expected=error.expected,
                fix=error.fix,
            ) from error

    def all_names(self) -> tuple[tuple[str, ...], ...]:
        """Return each class's name followed by its synonyms."""
        return tuple((name, *more) for name, more in zip(self.names, self.synonyms, strict=True))

    def to_json(self) -> dict[str, list[str] | dict[str, list[str]]]:
        """Return names in label order, and the synonyms of those that have any, as plain values."""
        pairs = zip(self.names, self.synonyms, strict=True)
        return {
            "vocabulary": list(self.names),
            "synonyms": {name: list(more) for name, more in pairs if more},
        }

    def subset(self, labels: Sequence[int]) -> "Vocabulary":
        """Return the vocabulary of some classes, numbered anew in the order of ``labels``."""
        place = {label: index for index, label in enumerate(labels)}
        seen = None if self.seen is None else frozenset(place[k] for k in self.seen if k in place)
        return Vocabulary(
            names=tuple(self.names[label] for label in labels),
            synonyms=tuple(self.synonyms[label] for label in labels),
            background=None if self.background is None else place.get(self.background),
            seen=seen,
        )

    def index(self, name: str) -> int:
        """Return the label of a class by its name or a synonym, ignoring case and spacing.

        Raises:
            VocabularyError: No class has that name.
        """
        wanted = _key(name)
        own = [_key(name) for name in self.names]
        if wanted in own:  # before synonyms, which a background may share
            return own.index(wanted)
        for label, names in enumerate(self.synonyms):
            if wanted in map(_key, names):
                return label
        raise VocabularyError(
            doing=f"looking up the class {name!r}",
            found="no class of that name",
            expected=f"one of {len(self)} names: {', '.join(self.names[:20])}{', …' if len(self) > 20 else ''}",
            fix="Check the spelling, or add the name to the vocabulary.",
        )


def without_names_of_others(
    names: Sequence[str], synonyms: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], ...]:
    """Leave out the synonyms that are another class's name.

    Published lists share words freely: ADE20K says "stool" of its toilets, which would win every stool.
    """
    shared = {(label, word) for label, word, _ in _names_of_others(names, synonyms)}
    return tuple(
        tuple(word for word in words if (label, word) not in shared) for label, words in enumerate(synonyms)
    )


def _listed(value: object, what: str) -> tuple[Any, ...]:
    """Refuse a string, which would fall apart into letters, and a set, which has no order."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(value)
    raise _unusable(
        f"{what} given as a {type(value).__name__}: {shortened(str(value))}",
        "a list or tuple of strings, in label order",
        'Write ["cat", "grass"], or Vocabulary.parse("cat, grass").',
    )


def _names_of_others(
    names: Sequence[str], synonyms: Sequence[Sequence[str]]
) -> Iterator[tuple[int, str, int]]:
    """Find synonyms that are another class's name: label, synonym, label of that class."""
    if not any(synonyms):
        return
    owners = {_key(name): label for label, name in enumerate(names)}
    for label, words in enumerate(synonyms):
        for word in words:
            owner = owners.get(_key(word), label)
            if owner != label:
                yield label, word, owner


def _clean(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise _unusable(
            f"{shortened(str(name))}, a {type(name).__name__}, for {where}",
            "a string for every name",
            "Write the class's name in words.",
        )
    cleaned = " ".join(unicodedata.normalize("NFC", name).split(" ")).strip()
    if not cleaned:
        raise _unusable(
            f"an empty name ({where})",
            "a word or phrase for every class",
            "Remove the stray comma or blank line, or write the missing name.",
        )
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in cleaned):
        raise _unusable(
            f"a line break, tab or control character in {where}: {shortened(cleaned)}",
            "one line of plain text a name",
            "Give each name as its own list entry, or one a line in a classes file.",
        )
    if len(cleaned) > MAX_NAME_LENGTH:
        raise _unusable(
            f"a name of {len(cleaned):,} characters ({where}): {shortened(cleaned)}",
            f"at most {MAX_NAME_LENGTH} characters; text encoders read some 60 words and drop the rest silently",
            "Use a short noun phrase; put further wordings into synonyms.",
        )
    return " ".join(cleaned.split())


def _by_label(words: Mapping[Any, Any]) -> tuple[Any, ...] | None:
    """Return the names of ``{0: name, 1: name, …}`` in label order; None for names with their synonyms.

    Numbers written as strings are labels where one name each stands beside them, and names beside a list of synonyms.
    """
    labels: dict[int, Any] = {}
    for key, name in words.items():
        number = whole_number(key) if isinstance(key, str) and isinstance(name, str) else key
        if not isinstance(number, int):
            return None
        labels[number] = name
    if sorted(labels) != list(range(len(words))):
        raise _unusable(
            f"labels {shortened(', '.join(map(str, sorted(labels))))}",
            f"every label from 0 to {len(words) - 1} once, with its name",
            'Give a list of names; or, of names that are numbers, synonyms as lists: {"7": ["seven"]}.',
        )
    return tuple(labels[label] for label in range(len(labels)))


def _key(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _unusable(found: str, expected: str, fix: str) -> VocabularyError:
    return VocabularyError(doing="building the vocabulary", found=found, expected=expected, fix=fix)


#: What a person may write for a vocabulary.
Words: TypeAlias = str | Sequence[str] | Mapping[str, Sequence[str]] | Mapping[int, str] | Vocabulary


def names_by_hash(names: Iterable[str]) -> list[str]:
    """Sort names by a hash of each: an order that looks at nothing else, and that a further name does not change."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def as_lines(vocabulary: Vocabulary) -> Iterable[str]:
    """Return the lines of a classes file for ``vocabulary``: the inverse of ``Vocabulary.from_file``."""
    lines = [_line(name, more) for name, more in zip(vocabulary.names, vocabulary.synonyms, strict=True)]
    try:
        if class_list_entries("\n".join(lines)) == list(
            zip(vocabulary.names, vocabulary.synonyms, strict=True)
        ):
            return lines
    except VocabularyError:
        pass
    pairs = zip(
        vocabulary.names, vocabulary.synonyms, strict=True
    )  # names that look like another form of list
    return [_line(name, more, always_quoted=True) for name, more in pairs]


def _line(name: str, synonyms: Sequence[str], *, always_quoted: bool = False) -> str:
    name, *more = [_as_quoted(word) if always_quoted else quoted(word) for word in (name, *synonyms)]
    return name if not more else f"{name}\t{', '.join(more)}"


def _as_quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'
