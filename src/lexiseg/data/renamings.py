"""Names that published code uses instead of the official class names: worth points, rarely reported."""

import dataclasses
from functools import lru_cache
from importlib.resources import files

from lexiseg.core.errors import UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.packaged_names import spelling_key

#: The class names of the data set, unchanged.
OFFICIAL = "official"


def rename(vocabulary: Vocabulary, naming: str, class_list: str | None) -> Vocabulary:
    """Give the classes the names that somebody's code uses; labels stay.

    A class is found under every spelling of its official name (``potted plant`` for ``pottedplant``).

    Args:
        vocabulary: With official names.
        naming: Whose names, e.g. ``groupvit``; ``official`` changes nothing.
        class_list: Which list the names are of, e.g. ``voc20``; None changes nothing.

    Raises:
        UnknownNameError: Nobody of that name is known.
    """
    if naming == OFFICIAL or class_list is None:
        return vocabulary
    table = _renamings()
    if naming not in {who for who, _ in table}:
        raise UnknownNameError.of("naming", naming, {OFFICIAL, *(who for who, _ in table)})
    used = {spelling_key(name): names for name, names in table.get((naming, class_list), {}).items()}
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
