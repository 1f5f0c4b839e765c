"""MaskedLabels: a data set without the masks that weak-shot training must not see.

ImageLabels: what training may know of an image. Masks and tags that contradict each other are refused.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest
from lexiseg.data.splits import hide_classes


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """Classes of an image.

    Attributes:
        masked: Whether it has masks of seen classes.
        with_mask: Seen classes that it has a mask of.
        tags: Classes that it shows and has no mask of.
    """

    masked: bool
    with_mask: frozenset[int]
    tags: frozenset[int]


def image_labels(
    sample: Sample, vocabulary: Vocabulary, *, unseen_masks: Literal["hide", "refuse"]
) -> ImageLabels:
    """Find what may be known of a sample.

    An image whose masks show no seen class still counts as masked: none of its pixels is of a seen class.
    Tags are taken as they are given; without any, they are the unseen classes among the masks.

    Raises:
        DatasetError: A tag is not in the vocabulary, there are neither masks nor tags, or they contradict
            each other. The background may be left out of tags.
    """
    return class_knowledge(
        _present(sample), sample.tags, sample.source, vocabulary, unseen_masks=unseen_masks
    )


def class_knowledge(
    present: frozenset[int] | None,
    tags: frozenset[int] | None,
    source: Path | str,
    vocabulary: Vocabulary,
    *,
    unseen_masks: Literal["hide", "refuse"],
) -> ImageLabels:
    """Find what may be known of an image from the classes in its label map and its tags, as ``image_labels`` does.

    Args:
        present: Classes with masks; None without a label map.
        tags: Its tags; None without any.
        source: The image, for messages.
        vocabulary: All classes, with those that have masks.
        unseen_masks: What becomes of masks of unseen classes.
    """
    seen = vocabulary.seen or frozenset()
    if tags is not None and not tags <= set(range(len(vocabulary))):
        strange = sorted(tags - set(range(len(vocabulary))))
        raise _error(
            source,
            f"tags for the classes {strange}",
            f"0 to {len(vocabulary) - 1} for {len(vocabulary)} classes",
            "Correct the tags.",
        )
    if present is None or not (present or tags is None):
        if tags is not None and not tags:
            fix = "Name its classes behind the tab, add a label file, or leave the image out."
            raise _error(
                source,
                "neither masks nor tags: its line of tags names no class",
                "one of them for every image",
                fix,
            )
        if not tags:
            fix = "Add a line to tags.tsv, add a label file, or leave the image out."
            raise _error(source, "neither masks nor tags", "one of them for every image", fix)
        return ImageLabels(masked=False, with_mask=frozenset(), tags=tags)
    if not present:
        fix = "Correct the label file, add tags, or leave the image out."
        raise _error(source, "a label map that is void everywhere, and no tags", "a label or a tag", fix)
    if unseen_masks == "refuse" and present - seen:
        raise _error(
            source,
            f"masks of {_names(present - seen, vocabulary)}, which seen.txt does not list"
            + (" and the image's tags name" if tags and tags & (present - seen) else ""),
            "masks of seen classes only",
            "Add them to seen.txt, make their pixels void, or hide them with --data.unseen-masks hide.",
        )
    if tags is not None:
        _refuse_contradiction(source, present, tags, vocabulary)
    unseen = (present if tags is None else tags) - seen
    return ImageLabels(masked=True, with_mask=present & seen, tags=unseen)


def _present(sample: Sample) -> frozenset[int] | None:
    if sample.label_map is None:
        return None
    counts = np.bincount(sample.label_map.ravel(), minlength=IGNORE_INDEX + 1)
    return frozenset(np.flatnonzero(counts[:IGNORE_INDEX]).tolist())


def _refuse_contradiction(
    source: Path | str, present: frozenset[int], tags: frozenset[int], vocabulary: Vocabulary
) -> None:
    seen, background = vocabulary.seen or frozenset(), {vocabulary.background}
    lacking = (tags & seen) - present - background
    if lacking:
        found = f"a tag for {_names(lacking, vocabulary)}, which has masks elsewhere, without a pixel of it"
        fix = "Draw its mask or remove the tag."
        raise _error(source, found, "a mask of every tagged class that has masks", fix)
    # A list that names no seen class is a list of unseen ones only.
    asked = present if tags & seen - background else present - seen
    untagged = asked - tags - background
    if untagged:
        found = f"a mask of {_names(untagged, vocabulary)}, which the tags leave out"
        fix = "Add the tag, remove the mask, or leave the image out of tags.tsv to take tags from the masks."
        raise _error(source, found, "a tag for every class with a mask, or for unseen classes only", fix)


def _names(classes: Iterable[int], vocabulary: Vocabulary) -> str:
    names = [repr(vocabulary.names[label]) for label in sorted(classes)]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _error(source: Path | str, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"reading the labels of {source}", found=found, expected=expected, fix=fix)


class MaskedLabels(LabelledDataset):
    """A data set whose unseen classes have tags but no masks.

    Every label map passes through ``hide`` here, before anything else gets it: the pixels of
    unseen classes are void. The ``tags`` of a sample are the classes that it shows *without a mask*: the
    unseen ones, and every tagged class of an image that has no masks at all.

    Where the data set has no tags, they are derived from the masks: what a person who looks at the whole
    image would have tagged. Every sample is read once for that and for the checks.

    Args:
        dataset: Its vocabulary says which classes are seen.
        unseen_masks: ``hide`` the masks of unseen classes, as benchmarks of fully labelled data need, or
            ``refuse`` them: in a person's own data they mean that one of the lists is wrong.
        gives_truth: Let ``read_truth`` give the masks of unseen classes: for tags of crops, and for
            ablations that look at the truth. Without it they leave this class by no way.

    Attributes:
        known: What is known of each image, in order.

    Raises:
        DatasetError: There is no split into seen and unseen classes, an image has neither masks nor
            tags, or its masks and tags contradict each other.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        *,
        unseen_masks: Literal["hide", "refuse"] = "hide",
        gives_truth: bool = False,
    ) -> None:
        if dataset.vocabulary.seen is None:
            raise DatasetError(
                doing=f"reading the data set {dataset.path} for weak-shot training",
                found="no division of the classes",
                expected="the classes that have masks, in seen.txt or by a class split",
                fix="List their names in seen.txt, one a line.",
            )
        self.dataset = dataset
        self.gives_truth = gives_truth
        self.path, self.split = dataset.path, dataset.split
        self.vocabulary, self.stems = dataset.vocabulary, dataset.stems
        self.seen = dataset.vocabulary.seen
        self.unseen = frozenset(range(len(self.vocabulary))) - self.seen
        # A table is 8 times as fast as ``hide_classes``; every training image comes by here.
        self._hidden_as = hide_classes(np.arange(IGNORE_INDEX + 1, dtype=np.uint16)[None], self.unseen)[0]

        def read(index: int) -> ImageLabels:
            return image_labels(dataset[index], self.vocabulary, unseen_masks=unseen_masks)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            self.known: Sequence[ImageLabels] = tuple(threads.map(read, range(len(dataset))))

    def image_path(self, index: int) -> Path | None:
        """Return the file of one image."""
        return self.dataset.image_path(index)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample: masks of seen classes, tags of what has no mask."""
        return self._shown(self.dataset[index], index)

    def read_truth(self, index: int) -> tuple[Sample, UInt16[np.ndarray, "H W"] | None]:
        """Read one sample, and beside it its label map with unseen classes in it."""
        assert self.gives_truth, "opened without gives_truth"
        sample = self.dataset[index]
        return self._shown(sample, index), sample.label_map

    def hide(self, label_map: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """Turn the pixels of unseen classes into void."""
        return self._hidden_as[label_map]

    def fingerprint(self) -> str:
        """Hash the data set, which classes are seen, and the tags: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"data set", self.dataset.fingerprint().encode())
        add_to_digest(digest, b"seen", str(sorted(self.seen)).encode())
        tags = [sorted(known.tags) for known in self.known]
        add_to_digest(digest, b"tags", str(tags).encode())
        return digest.hexdigest()

    def _shown(self, sample: Sample, index: int) -> Sample:
        known = self.known[index]
        label_map = None
        if known.masked and sample.label_map is not None:
            label_map = self.hide(sample.label_map)
        return Sample(image=sample.image, source=sample.source, label_map=label_map, tags=known.tags)
