"""Class lists that come with this package, in label order, and other names that published code uses for them.

The names of the thousand ImageNet classes (ILSVRC 2012) are OpenAI's, curated for CLIP (MIT); ids and lemmas
are WordNet 3.0's. The file says so. The names that published code uses instead of the official ones are
worth points in scores, and are rarely reported.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

from lexiseg.core.errors import UnknownNameError
from lexiseg.core.vocabulary import Vocabulary


def packaged_vocabulary(name: str) -> Vocabulary:
    """Read ``class_names/<name>.txt``; the background is its class of that name, if any."""
    with as_file(files("lexiseg.data").joinpath("class_names", f"{name}.txt")) as path:
        return Vocabulary.from_file(path)


def packaged_names() -> list[str]:
    """List the class lists of this package."""
    folder = files("lexiseg.data").joinpath("class_names")
    return sorted(file.name[:-4] for file in folder.iterdir() if file.name.endswith(".txt"))


def spelling_key(name: str) -> str:
    """Reduce a name to what its spellings share: ``Potted plant`` and ``pottedplant`` have one key."""
    return "".join(c for c in name.casefold() if c.isalnum())


def from_package(name: str, zeroth: str | None = None) -> Callable[[Path], Vocabulary]:
    """Make a reader of a list of this package, which looks at no copy.

    Args:
        name: Name of the list.
        zeroth: Name of a class put in front, which stands for none of the others.
    """

    def read(_root: Path) -> Vocabulary:
        vocabulary = packaged_vocabulary(name)
        return vocabulary if zeroth is None else with_zeroth(vocabulary, zeroth)

    return read


def with_zeroth(vocabulary: Vocabulary, name: str) -> Vocabulary:
    """Put a class in front that stands for none of the others."""
    return dataclasses.replace(
        vocabulary,
        names=(name, *vocabulary.names),
        synonyms=((), *vocabulary.synonyms),
        background=0,
    )


@dataclass(frozen=True, kw_only=True)
class ImageNetClass:
    """One of the thousand.

    Attributes:
        wnid: WordNet id, e.g. ``n02123045``.
        name: Short English name, e.g. ``tabby cat``. Not unique: two are called ``missile``.
        kind: What an everyday word would call it, e.g. ``cat``; None where the name says it already.
            Our own judgement, as WordNet's hierarchy would have it.
        lemmas: WordNet's names of it.
        shown_with_people: Photographs of it usually show a person: it is worn, or used in sport or
            music. Our own judgement too.
    """

    wnid: str
    name: str
    kind: str | None
    lemmas: tuple[str, ...]
    shown_with_people: bool


@lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """Read the thousand classes in label order."""
    text = files("lexiseg.data").joinpath("class_names", "imagenet1k.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        ImageNetClass(
            wnid=wnid,
            name=name,
            kind=None if kind == "-" else kind,
            lemmas=tuple(lemmas.split(", ")),
            shown_with_people=people == "person",
        )
        for wnid, name, kind, lemmas, people in rows
    )


@lru_cache(maxsize=1)
def names_of_wnids() -> dict[str, str]:
    """Return the name of each WordNet id of ImageNet; where two have one, with a further word of WordNet in brackets."""
    classes = imagenet_classes()
    count = Counter(each.name for each in classes)
    return {
        each.wnid: each.name
        if count[each.name] == 1
        else f"{each.name} ({next((word for word in reversed(each.lemmas) if word != each.name), each.wnid)})"
        for each in classes
    }


#: The class names of the data set, unchanged.
OFFICIAL = "official"


def rename(vocabulary: Vocabulary, names_of: str, class_list: str | None) -> Vocabulary:
    """Rename the classes to the names that somebody's code uses; labels stay.

    A class is found under every spelling of its official name (``potted plant`` for ``pottedplant``).

    Args:
        vocabulary: With official names.
        names_of: Whose names, e.g. ``groupvit``; ``official`` changes nothing.
        class_list: Which list the names are of, e.g. ``voc20``; None changes nothing.

    Raises:
        UnknownNameError: Nobody of that name is known.
    """
    if names_of == OFFICIAL or class_list is None:
        return vocabulary
    table = _renamings()
    if names_of not in {who for who, _ in table}:
        raise UnknownNameError.of("naming", names_of, {OFFICIAL, *(who for who, _ in table)})
    used = {spelling_key(name): names for name, names in table.get((names_of, class_list), {}).items()}
    pairs = [
        used.get(spelling_key(name), (name, *more))
        for name, more in zip(vocabulary.names, vocabulary.synonyms, strict=True)
    ]
    return dataclasses.replace(
        vocabulary, names=tuple(names[0] for names in pairs), synonyms=tuple(names[1:] for names in pairs)
    )


def namings() -> list[str]:
    """List whose names are known, the official ones first."""
    return [OFFICIAL, *sorted({who for who, _ in _renamings()})]


@lru_cache(maxsize=1)
def _renamings() -> dict[tuple[str, str], dict[str, tuple[str, ...]]]:
    text = files("lexiseg.data").joinpath("class_names", "renamings.tsv").read_text(encoding="utf-8")
    table: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            who, class_list, official, used = line.split("\t")
            table.setdefault((who, class_list), {})[official] = tuple(used.split(", "))
    return table
