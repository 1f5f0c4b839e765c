"""The thousand classes of ImageNet (ILSVRC 2012): what a classifier's outputs are called.

Names are OpenAI's, curated for CLIP (MIT); ids and lemmas are WordNet 3.0's. The file says so.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


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
