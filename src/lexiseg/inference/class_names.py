"""ClassNames: the names that compete for pixels, which class owns each, and their embeddings."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import spelling_key
from lexiseg.inference.settings import InferenceSettings

BACKGROUND = "background"

#: Stuff that is seldom asked for: what background consists of under ``background="words"``. SCLIP's list.
BACKGROUND_WORDS = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed",
    "building", "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor",
    "hill", "rail", "fence",
)  # fmt: skip

#: Ways of choosing background in which no name of it competes.
_WITHOUT_NAME = ("threshold", "probability")

#: Embeddings of equal tokens differ by so much of their length at most: rounding, by how texts are batched.
_EQUAL = 1e-5
_PROBES = 4


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
        found = Counter(self.owner)
        object.__setattr__(self, "counts", tuple(found[label] for label in labels))

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
    *,
    background_words: bool = False,
) -> ClassNames:
    """Build the competing names of a vocabulary and embed them.

    Args:
        vocabulary: What label maps index.
        labels: Which of its classes compete.
        embed_texts: A method's own: names and the prompt set's name to embeddings.
        prompts: Name of the prompt set.
        background_words: Background competes by ``BACKGROUND_WORDS`` instead of its name.

    Raises:
        VocabularyError: All of ``BACKGROUND_WORDS`` are classes, so that nothing is left for background.
    """
    all_names = list(vocabulary.all_names())
    if background_words and vocabulary.background is not None:
        all_names[vocabulary.background] = _stuff_beside(vocabulary)
    names = tuple(name for label in labels for name in all_names[label])
    return ClassNames(
        vocabulary=vocabulary,
        names=names,
        owner=tuple(label for label in labels for _ in all_names[label]),
        embeddings=embed_texts(names, prompts),
    )


def _stuff_beside(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the background words that no class has among its names."""
    taken = {
        spelling_key(name)
        for label, names in enumerate(vocabulary.all_names())
        for name in names
        if label != vocabulary.background
    }
    left = tuple(word for word in BACKGROUND_WORDS if spelling_key(word) not in taken)
    if not left:
        raise VocabularyError(
            doing="choosing background by a list of stuff words",
            found="every one of them among the words to look for",
            expected=f"at least one left, of: {', '.join(BACKGROUND_WORDS)}",
            fix="Use --background name or probability.",
        )
    return left


def refuse_alike(class_names: ClassNames, is_missing: Bool[Tensor, " S"]) -> None:
    """Refuse two classes that all names of have equal embeddings: which one wins would be rounding noise.

    Args:
        class_names: What competes.
        is_missing: Rows that say nothing of a name; they are not compared.

    Raises:
        VocabularyError: There are two such classes.
    """
    compared = (~is_missing).nonzero()[:, 0]
    numbers = _equal_rows(class_names.embeddings[compared].float())
    group = dict(zip(compared.tolist(), numbers, strict=True))
    seen: dict[frozenset[int], int] = {}
    start = 0
    for label, count in zip(class_names.labels, class_names.counts, strict=True):
        rows = range(start, start + count)
        start += count
        alike = frozenset(group[row] for row in rows if row in group)
        if not alike:
            continue
        if alike in seen:
            names = class_names.vocabulary.names
            raise VocabularyError(
                doing="comparing the words with one another",
                found=f"{names[seen[alike]]!r} and {names[label]!r}, which the model cannot tell apart: their "
                "embeddings are equal",
                expected="every class with a meaning of its own",
                fix="Leave one out, or make it a synonym of the other.",
            )
        seen[alike] = label


def _equal_rows(embeddings: Float[Tensor, "S D"]) -> list[int]:
    """Number rows such that rows that differ by rounding only have one number.

    Rows are sorted by their product with a fixed vector; only those that lie close there, and by further such vectors,
    are compared.
    """
    if len(embeddings) < 2:
        return list(range(len(embeddings)))
    scale = float(embeddings.norm(dim=1).amax().clamp(min=1e-12))
    probes = torch.randn((embeddings.shape[1], _PROBES), generator=torch.Generator().manual_seed(0))
    near = (_EQUAL * probes.norm(dim=0)).to(embeddings.device)
    places = embeddings @ probes.to(embeddings.device) / scale
    order = places[:, 0].argsort()
    places = places[order]
    group = list(range(len(embeddings)))
    for shift in range(1, len(embeddings)):
        close = (places[shift:, 0] - places[:-shift, 0] <= near[0]).nonzero()[:, 0]
        if len(close) == 0:
            break
        close = close[((places[close + shift] - places[close]).abs() <= near).all(dim=1)]
        first, second = order[close], order[close + shift]
        equal = (embeddings[first] - embeddings[second]).norm(dim=1) <= _EQUAL * scale
        for one, other in zip(first[equal].tolist(), second[equal].tolist(), strict=True):
            old, new = group[other], group[one]
            if old != new:
                group = [new if number == old else number for number in group]
    return group


def with_background(vocabulary: Vocabulary, settings: InferenceSettings) -> Vocabulary:
    """Return the vocabulary that label maps index under ``settings.background``.

    With all but ``none`` a class named background is appended where there is none.
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
    """Return the labels whose names compete for pixels: with ``threshold`` and ``probability`` background's does not.

    Raises:
        InputError: No class is left, or the model has no threshold of its own and none is given.
    """
    if settings.background not in _WITHOUT_NAME:
        return list(range(len(vocabulary)))
    if settings.background == "probability" and settings.min_probability is None:
        raise InputError(
            doing="choosing background by a probability",
            found="no least probability, and this model has none of its own",
            expected="a number from 0 to 1",
            fix="Give one with --min-probability; papers use 0.1 to 0.5 with --logit-scale 40 to 65.",
        )
    if settings.background == "threshold" and settings.threshold is None:
        raise InputError(
            doing="choosing background by a threshold",
            found="no threshold, and this model has none of its own",
            expected="a number on the model's score scale",
            fix="Give one with --threshold; the mean scores printed for an image show the scale.",
        )
    labels = [label for label in range(len(vocabulary)) if label != vocabulary.background]
    if not labels:
        raise InputError(
            doing=f"choosing background by a {settings.background}",
            found="background as the only class",
            expected="at least one other class",
            fix="Add the names of things to find.",
        )
    return labels


def no_words(model: str) -> InputError:
    """Build the error of a model that takes any words, has no list of its own and was given none."""
    return InputError(
        doing=f"labelling with {model}",
        found="no words",
        expected="the classes to look for: this model takes any words and has no list of its own",
        fix='Give --words "cat, grass, sky" or --classes-file FILE.',
    )
