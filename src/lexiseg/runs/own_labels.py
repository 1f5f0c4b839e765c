"""What a person's folder says of its images, and the evidence that a head is fitted to."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import torch

from lexiseg.core.batch import Sample
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.word_prompts import WordListTagger
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.methods.frozen_head.fitting import Evidence
from lexiseg.methods.frozen_head.head import patch_shares
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings

#: What a label can be, in the order of what it says of a pixel.
KINDS = ("masks", "tags", "captions", "names")
#: A patch is known where masks say what at least so much of it is.
_KNOWN = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """An image's features and the labels it came with.

    Attributes:
        rows: Features of its patches, in half precision.
        grid: Rows and columns of them.
        shares: Of each patch: every class's share of the pixels that are not void, in half precision; None without masks.
        known: Patches of which masks say something.
        in_masks: Classes that the masks show.
        tags: Classes that tags.tsv gives it; None where it has no line there.
        in_captions: Classes that its captions name; None where it has none.
    """

    rows: torch.Tensor
    grid: tuple[int, int]
    shares: torch.Tensor | None
    known: torch.Tensor | None
    in_masks: frozenset[int]
    tags: frozenset[int] | None
    in_captions: frozenset[int] | None


def describe(
    samples: Iterable[Sample],
    describer: ImageEncoder,
    vocabulary: Vocabulary,
    settings: FrozenHeadSettings,
    advance: Callable[[], None] = lambda: None,
) -> list[Described]:
    """Encode images and read their labels; what the describer keeps on disk is not encoded again."""
    named = words_in_captions(vocabulary)
    found = []
    for sample in samples:
        size = fitted_size(
            sample.image.shape[:2],
            short_side=settings.short_side,
            max_long_side=settings.max_long_side,
            multiple_of=describer.stride,
        )
        with torch.inference_mode():
            features = describer(resize_image(sample.image, size)[None])
        shares = known = None
        in_masks: frozenset[int] = frozenset()
        if sample.label_map is not None:
            counted = patch_shares(
                torch.from_numpy(sample.label_map.astype("int32")), features.grid, len(vocabulary)
            )
            void = counted[:, -1]
            known = void <= 1 - _KNOWN
            shares = counted[:, :-1] / (1 - void).clamp(min=1e-6)[:, None]
            in_masks = frozenset(torch.unique(torch.from_numpy(sample.label_map.astype("int32"))).tolist())
            in_masks &= frozenset(range(len(vocabulary)))
        found.append(
            Described(
                rows=features.tokens[0].half(),
                grid=features.grid,
                shares=None if shares is None else shares.half(),
                known=known,
                in_masks=in_masks,
                tags=sample.tags,
                in_captions=None
                if not sample.captions
                else frozenset(label for caption in sample.captions for label in named(caption)),
            )
        )
        advance()
    return found


def words_in_captions(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
    """Return what finds the classes that a caption names, by their names and synonyms, singular or with an s."""
    owners = {
        " ".join(name.casefold().split()): label
        for label, names in reversed(list(enumerate(vocabulary.all_names())))
        for name in names
    }
    tagger = WordListTagger(owners)

    def classes(caption: str) -> list[int]:
        words = tagger.words(caption)
        labels = (owners.get(word, owners.get(word.removesuffix("s"))) for word in words)
        return [label for label in labels if label is not None]

    return classes


def evidence_of(image: Described, vocabulary: Vocabulary, use: Collection[str]) -> Evidence:
    """Turn what is known of an image into what a head is fitted to.

    Patches that no mask speaks of are of one of the image's tags or of the classes its captions name; where classes have
    no masks (seen.txt), of one of those. With names alone, of any class.

    Args:
        image: The image.
        vocabulary: Classes, perhaps with a division into those with masks and the others.
        use: Kinds of labels that may be looked at, some of ``KINDS``.
    """
    masked = "masks" in use and image.shares is not None
    everything = frozenset(range(len(vocabulary)))
    without_masks = everything - vocabulary.seen if vocabulary.seen is not None and masked else everything
    listed = None
    for kind, labels in (("tags", image.tags), ("captions", image.in_captions)):
        if kind in use and labels:
            listed = labels if listed is None else listed | labels
    candidates: frozenset[int] = frozenset()
    if listed is not None:
        candidates = listed & without_masks if vocabulary.seen is not None and masked else listed
        if not masked and vocabulary.background is not None:
            candidates |= {vocabulary.background}
        if masked and vocabulary.seen is None:
            candidates = frozenset()  # all classes have masks: what they leave out is void
    elif "names" in use and (not masked or vocabulary.seen is not None):
        candidates = without_masks
    return Evidence(
        rows=image.rows.float(),
        shares=image.shares.float() if masked and image.shares is not None else None,
        known=image.known if masked else None,
        candidates=tuple(sorted(candidates)),
        is_certain=listed is not None,
    )


def kinds_in(images: Sequence[Described], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the kinds of labels that images have.

    Names alone are used where there is nothing else, or where classes have neither masks nor tags nor captions:
    beside masks of all classes, guesses of a model do harm.
    """
    found = [
        kind
        for kind, has in (
            ("masks", any(image.shares is not None for image in images)),
            ("tags", any(image.tags for image in images)),
            ("captions", any(image.in_captions for image in images)),
        )
        if has
    ]
    told = frozenset().union(*(image.tags or frozenset() for image in images)) if images else frozenset()
    told = told.union(*(image.in_captions or frozenset() for image in images))
    is_partial = (
        vocabulary.seen is not None and not frozenset(range(len(vocabulary))) - vocabulary.seen <= told
    )
    return (*found, "names") if not found or is_partial else tuple(found)
