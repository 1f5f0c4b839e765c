"""Vocabulary: the ordered class names a segmentation indexes."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from lexiseg.core.constants import MAX_CLASSES
from lexiseg.core.errors import VocabularyError

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
        names = tuple(_clean(name, f"class {index}") for index, name in enumerate(self.names))
        synonyms = self.synonyms or ((),) * len(names)
        assert len(synonyms) == len(names), "synonyms need one entry a class"
        cleaned = tuple(
            tuple(_clean(word, f"a synonym of {name!r}") for word in words)
            for name, words in zip(names, synonyms, strict=True)
        )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "synonyms", cleaned)
        self._refuse_unusable()
        if self.background is None:
            keys = [_key(name) for name in names]
            if "background" in keys:
                object.__setattr__(self, "background", keys.index("background"))

    def _refuse_unusable(self) -> None:
        if not self.names:
            raise VocabularyError(
                doing="building the vocabulary",
                found="no class name at all",
                expected="one or more names",
                fix='Give words such as --words "cat, grass, sky".',
            )
        if len(self.names) > MAX_CLASSES:
            raise VocabularyError(
                doing="building the vocabulary",
                found=f"{len(self.names)} names",
                expected=f"at most {MAX_CLASSES}, which is what a 16-bit label map can hold",
                fix="Split the vocabulary into several runs.",
            )
        first: dict[str, int] = {}
        for index, name in enumerate(self.names):
            earlier = first.setdefault(_key(name), index)
            if earlier != index:
                raise VocabularyError(
                    doing="building the vocabulary",
                    found=f"{name!r} as class {index}, which is already class {earlier} ({self.names[earlier]!r})",
                    expected="every class name once (upper and lower case and spacing count as equal)",
                    fix="Remove one of them, or list it as a synonym after a tab in a classes file.",
                )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def parse(cls, words: "Words") -> "Vocabulary":
        """Build a vocabulary from what a person would write.

        Args:
            words: ``"cat, grass"`` (commas separate, double quotes protect a comma:
                ``'"salt, pepper", cat'``), a sequence of names taken as they are, a mapping from
                name to synonyms, or a vocabulary.

        Raises:
            VocabularyError: A name is empty, repeated, too long or holds a line break.
        """
        match words:
            case Vocabulary():
                return words
            case str():
                return cls(names=tuple(_split(words)))
            case Mapping():
                return cls(names=tuple(words), synonyms=tuple(tuple(v) for v in words.values()))
            case _:
                return cls(names=tuple(words))

    @classmethod
    def from_file(cls, path: Path) -> "Vocabulary":
        """Read a classes file: one class a line in label order; synonyms after a tab, comma-separated.

        Raises:
            VocabularyError: The file cannot be read as UTF-8 text, or a line cannot be used.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(
                doing=f"reading the classes file {path}",
                found=str(error),
                expected="a UTF-8 text file with one class name a line",
                fix="Check the path and save the file as UTF-8.",
            ) from error
        while lines and not lines[-1].strip():
            lines.pop()
        names, synonyms = [], []
        for line in lines:  # an empty line in between is refused below: it would shift every label
            name, _, rest = line.partition("\t")
            names.append(name)
            synonyms.append(tuple(_split(rest)) if rest.strip() else ())
        try:
            return cls(names=tuple(names), synonyms=tuple(synonyms))
        except VocabularyError as error:
            raise VocabularyError(
                doing=f"reading the classes file {path} (class 0 is line 1)",
                found=error.found,
                expected=error.expected,
                fix=error.fix,
            ) from error

    def all_names(self) -> tuple[tuple[str, ...], ...]:
        """Give each class's name followed by its synonyms."""
        return tuple((name, *more) for name, more in zip(self.names, self.synonyms, strict=True))

    def to_json(self) -> dict[str, list[str] | dict[str, list[str]]]:
        """Give names in label order, and the synonyms of those that have any, as plain values."""
        pairs = zip(self.names, self.synonyms, strict=True)
        return {
            "vocabulary": list(self.names),
            "synonyms": {name: list(more) for name, more in pairs if more},
        }

    def index(self, name: str) -> int:
        """Give the label of a class by its name or a synonym, ignoring case and spacing.

        Raises:
            VocabularyError: No class has that name.
        """
        wanted = _key(name)
        for label, names in enumerate(self.all_names()):
            if wanted in map(_key, names):
                return label
        raise VocabularyError(
            doing=f"looking up the class {name!r}",
            found="no class of that name",
            expected=f"one of {len(self)} names: {', '.join(self.names[:20])}{', …' if len(self) > 20 else ''}",
            fix="Check the spelling, or add the name to the vocabulary.",
        )


def _split(words: str) -> list[str]:
    if not words.strip():
        return []
    try:
        rows = list(csv.reader(io.StringIO(words), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise VocabularyError(
            doing=f"reading the words {_short(words)}",
            found=f"a quotation that does not close ({error})",
            expected='names separated by commas, with double quotes only around a whole name: "salt, pepper", cat',
            fix="Close the quotation or leave the quotes away.",
        ) from error
    if len(rows) > 1:
        raise VocabularyError(
            doing=f"reading the words {_short(words)}",
            found=f"{len(rows)} lines",
            expected="one line of names separated by commas",
            fix="Put the names into a file, one a line, and give it with --classes-file (Vocabulary.from_file in Python).",
        )
    return rows[0]


def _clean(name: str, where: str) -> str:
    cleaned = " ".join(unicodedata.normalize("NFC", name).split(" ")).strip()
    if not cleaned:
        raise VocabularyError(
            doing="building the vocabulary",
            found=f"an empty name ({where})",
            expected="a word or phrase for every class",
            fix="Remove the stray comma or blank line, or write the missing name.",
        )
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in cleaned):
        raise VocabularyError(
            doing="building the vocabulary",
            found=f"a line break, tab or control character in {where}: {_short(cleaned)}",
            expected="one line of plain text a name",
            fix="Give each name as its own list entry, or one a line in a classes file.",
        )
    if len(cleaned) > MAX_NAME_LENGTH:
        raise VocabularyError(
            doing="building the vocabulary",
            found=f"a name of {len(cleaned):,} characters ({where}): {_short(cleaned)}",
            expected=f"at most {MAX_NAME_LENGTH} characters; text encoders read some 60 words and drop the rest silently",
            fix="Use a short noun phrase; put further wordings into synonyms.",
        )
    return " ".join(cleaned.split())


def _key(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


#: What a person may write for a vocabulary.
Words: TypeAlias = str | Sequence[str] | Mapping[str, Sequence[str]] | Vocabulary


def as_lines(vocabulary: Vocabulary) -> Iterable[str]:
    """Give the lines of a classes file for ``vocabulary``: the inverse of ``Vocabulary.from_file``."""
    for name, more in zip(vocabulary.names, vocabulary.synonyms, strict=True):
        yield name if not more else f"{name}\t{', '.join(_quote(word) for word in more)}"


def _quote(word: str) -> str:
    return '"' + word.replace('"', '""') + '"' if set(word) & {",", '"'} else word
