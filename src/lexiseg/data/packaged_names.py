"""Class lists that come with this package, in label order."""

import dataclasses
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

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
        name: Of the list.
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
