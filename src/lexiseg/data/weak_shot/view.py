"""WeakShotView: a data set without the masks that weak-shot training must not see."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.sample import Sample
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest
from lexiseg.data.splits import hide_classes
from lexiseg.data.weak_shot.known_labels import KnownLabels, known_labels


class WeakShotView(LabelledDataset):
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

        def read(index: int) -> KnownLabels:
            return known_labels(dataset[index], self.vocabulary, unseen_masks=unseen_masks)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            self.known: Sequence[KnownLabels] = tuple(threads.map(read, range(len(dataset))))

    def __getitem__(self, index: int) -> Sample:
        """Read one sample: masks of seen classes, tags of what has no mask."""
        return self._shown(self.dataset[index], index)

    def read_truth(self, index: int) -> tuple[Sample, UInt16[np.ndarray, "H W"] | None]:
        """Read one sample, and beside it its label map with unseen classes in it."""
        assert self.gives_truth, "this view gives no truth"
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
