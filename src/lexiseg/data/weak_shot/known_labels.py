"""What weak-shot training may know of an image, and what its masks and tags must not say."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.sample import Sample
from lexiseg.core.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class KnownLabels:
    """Classes of an image.

    Attributes:
        masked: Whether it has masks of seen classes.
        with_mask: Seen classes that it has a mask of.
        tags: Classes that it shows and has no mask of.
    """

    masked: bool
    with_mask: frozenset[int]
    tags: frozenset[int]


def known_labels(
    sample: Sample, vocabulary: Vocabulary, *, unseen_masks: Literal["hide", "refuse"]
) -> KnownLabels:
    """Find what may be known of a sample.

    An image whose masks show no seen class still counts as masked: none of its pixels is of a seen class.
    Tags are taken as they are given; without any, they are the unseen classes among the masks.

    Raises:
        DatasetError: A tag is not in the vocabulary, there are neither masks nor tags, or they contradict
            each other. The background may be left out of tags.
    """
    seen = vocabulary.seen or frozenset()
    tags = sample.tags
    if tags is not None and not tags <= set(range(len(vocabulary))):
        strange = sorted(tags - set(range(len(vocabulary))))
        raise _error(
            sample,
            f"tags for the classes {strange}",
            f"0 to {len(vocabulary) - 1} for {len(vocabulary)} classes",
            "Correct the tags.",
        )
    present = _present(sample)
    if present is None or not (present or tags is None):
        if not tags:
            fix = "Add a line to tags.tsv, add a label file, or leave the image out."
            raise _error(sample, "neither masks nor tags", "one of them for every image", fix)
        return KnownLabels(masked=False, with_mask=frozenset(), tags=tags)
    if not present:
        fix = "Correct the label file, add tags, or leave the image out."
        raise _error(sample, "a label map that is void everywhere, and no tags", "a label or a tag", fix)
    if unseen_masks == "refuse" and present - seen:
        raise _error(
            sample,
            f"masks of {_names(present - seen, vocabulary)}, which seen.txt does not list"
            + (" and the image's tags name" if tags and tags & (present - seen) else ""),
            "masks of seen classes only",
            "Add them to seen.txt, make their pixels void, or hide them with unseen_masks='hide'.",
        )
    if tags is not None:
        _refuse_contradiction(sample, present, tags, vocabulary)
    unseen = (present if tags is None else tags) - seen
    return KnownLabels(masked=True, with_mask=present & seen, tags=unseen)


def _present(sample: Sample) -> frozenset[int] | None:
    if sample.label_map is None:
        return None
    counts = np.bincount(sample.label_map.ravel(), minlength=IGNORE_INDEX + 1)
    return frozenset(np.flatnonzero(counts[:IGNORE_INDEX]).tolist())


def _refuse_contradiction(
    sample: Sample, present: frozenset[int], tags: frozenset[int], vocabulary: Vocabulary
) -> None:
    seen, background = vocabulary.seen or frozenset(), {vocabulary.background}
    lacking = (tags & seen) - present - background
    if lacking:
        found = f"a tag for {_names(lacking, vocabulary)}, which has masks elsewhere, without a pixel of it"
        fix = "Draw its mask or remove the tag."
        raise _error(sample, found, "a mask of every tagged class that has masks", fix)
    # A list that names no seen class is a list of unseen ones only.
    asked = present if tags & seen - background else present - seen
    untagged = asked - tags - background
    if untagged:
        found = f"a mask of {_names(untagged, vocabulary)}, which the tags leave out"
        fix = "Add the tag, remove the mask, or leave the image out of tags.tsv to take tags from the masks."
        raise _error(sample, found, "a tag for every class with a mask, or for unseen classes only", fix)


def _names(classes: Iterable[int], vocabulary: Vocabulary) -> str:
    names = [repr(vocabulary.names[label]) for label in sorted(classes)]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _error(sample: Sample, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(
        doing=f"reading the labels of {sample.source}", found=found, expected=expected, fix=fix
    )
