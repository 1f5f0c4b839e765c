"""ClassNames: the names that compete for pixels, which class owns each, and their embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.settings import InferenceSettings

BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassNames:
    """What a method decides between. Built once a call, by ``Segmenter.name_classes``.

    Attributes:
        vocabulary: What label maps index, with a background where the settings ask for one.
        names: Every name of every class that competes; the names of a class are neighbours.
        owner: Label of the class each name belongs to.
        embeddings: One row a name, in the space that the method's ``class_scores`` compares in.
        labels: Labels of the classes that compete, in the order of ``names``.
        counts: How many names each of them has.
    """

    vocabulary: Vocabulary
    names: tuple[str, ...]
    owner: tuple[int, ...]
    embeddings: Float[Tensor, "S D"] = field(repr=False)
    labels: tuple[int, ...] = field(init=False)
    counts: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.owner) == len(self.embeddings), "one row and one owner a name"
        labels = tuple(dict.fromkeys(self.owner))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "counts", tuple(self.owner.count(label) for label in labels))

    @property
    def background(self) -> int | None:
        """Label of the background where it competes by its name, else None."""
        label = self.vocabulary.background
        return label if label in self.labels else None


def name_classes(
    vocabulary: Vocabulary,
    labels: Sequence[int],
    embed_texts: Callable[[Sequence[str], str], Float[Tensor, "S D"]],
    prompts: str,
) -> ClassNames:
    """Build the competing names of a vocabulary and embed them.

    Args:
        vocabulary: What label maps index.
        labels: Which of its classes compete.
        embed_texts: A method's own: names and the prompt set's name to embeddings.
        prompts: Name of the prompt set.
    """
    all_names = vocabulary.all_names()
    names = tuple(name for label in labels for name in all_names[label])
    return ClassNames(
        vocabulary=vocabulary,
        names=names,
        owner=tuple(label for label in labels for _ in all_names[label]),
        embeddings=embed_texts(names, prompts),
    )


def with_background(vocabulary: Vocabulary, settings: InferenceSettings) -> Vocabulary:
    """Return the vocabulary that label maps index under ``settings.background``.

    With ``name`` and ``threshold`` a class named background is appended where there is none.
    """
    if settings.background == "none" or vocabulary.background is not None:
        return vocabulary
    return replace(
        vocabulary,
        names=(*vocabulary.names, BACKGROUND),
        synonyms=(*vocabulary.synonyms, ()),
        background=len(vocabulary),
    )


def competing_labels(vocabulary: Vocabulary, settings: InferenceSettings) -> list[int]:
    """Return the labels whose names compete for pixels: with ``threshold`` background's does not.

    Raises:
        InputError: No class is left, or the model has no threshold of its own and none is given.
    """
    if settings.background != "threshold":
        return list(range(len(vocabulary)))
    if settings.threshold is None:
        raise InputError(
            doing="choosing background by a threshold",
            found="no threshold, and this model has none of its own",
            expected="a number on the model's score scale",
            fix="Give one with --threshold; the mean scores printed for a picture show the scale.",
        )
    labels = [label for label in range(len(vocabulary)) if label != vocabulary.background]
    if not labels:
        raise InputError(
            doing="choosing background by a threshold",
            found="background as the only class",
            expected="at least one other class",
            fix="Add the names of things to find.",
        )
    return labels
