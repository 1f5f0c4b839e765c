"""SeenOnly: a data set of which nothing is left but images and masks of seen classes.

What inductive zero-shot training may see: no pixel, no tag and no name of an unseen class leaves this file.
"""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest


class SeenOnly:
    """Images of a data set with masks of its seen classes, counted from 0 in their order; the rest is void.

    Images without masks stay: they are void everywhere. Tags and captions are left out.

    Args:
        dataset: Its vocabulary says which classes are seen.
        masks: ``seen``; ``none`` leaves no mask and no name at all; ``all`` makes every class a seen one (the
            upper end that others are compared with).
        unseen_masks: ``hide`` the masks of unseen classes, as benchmarks of fully labelled data need, or
            ``refuse`` them: in a person's own data they mean that one of the lists is wrong.
        gives_truth: Let ``read_truth`` give the data set's own label maps, for ablations that look at the truth.
            Without it they leave this class by no way.

    Attributes:
        names: Of the seen classes, by their label here.
        stems: Of the images.

    Raises:
        DatasetError: There is no split into seen and unseen classes, or no class is seen.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        *,
        masks: Literal["seen", "none", "all"] = "seen",
        unseen_masks: Literal["hide", "refuse"] = "hide",
        gives_truth: bool = False,
    ) -> None:
        vocabulary = dataset.vocabulary
        every = frozenset(range(len(vocabulary)))
        seen = {"seen": vocabulary.seen, "none": frozenset(), "all": every}[masks]
        if seen is None or (masks == "seen" and not seen):
            raise DatasetError(
                doing=f"reading the data set {dataset.path} for zero-shot training",
                found="no division of the classes" if seen is None else "no seen class",
                expected="the classes that have masks, in seen.txt or by a class split",
                fix="List their names in seen.txt, one a line, or train without masks (data.masks = none).",
            )
        self._dataset, self._vocabulary = dataset, vocabulary
        self._masks, self._unseen_masks, self.gives_truth = masks, unseen_masks, gives_truth
        labels = sorted(seen)
        self.names = tuple(vocabulary.names[label] for label in labels)
        self.stems = dataset.stems
        self._shown_as = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint16)
        self._shown_as[labels] = np.arange(len(labels), dtype=np.uint16)
        self._seen = seen

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample: its image, and the masks of seen classes or None where it has no label map.

        Raises:
            DatasetError: It shows masks of unseen classes, and they are to be refused.
        """
        return self._shown(self._dataset[index])

    def files(self) -> list[Path]:
        """List the image files, as far as images are in files."""
        return self._dataset.files()

    def read_truth(self, index: int) -> tuple[Sample, UInt16[np.ndarray, "H W"] | None]:
        """Read one sample, and beside it the data set's own label map."""
        assert self.gives_truth, "this view gives no truth"
        sample = self._dataset[index]
        return self._shown(sample), sample.label_map

    def fingerprint(self) -> str:
        """Hash the data set and what is shown of it: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"data set", self._dataset.fingerprint().encode())
        add_to_digest(digest, b"seen", str(sorted(self._seen)).encode())
        return digest.hexdigest()

    def _shown(self, sample: Sample) -> Sample:
        label_map = sample.label_map
        if self._unseen_masks == "refuse" and self._masks == "seen" and label_map is not None:
            self._refuse_unseen(sample, label_map)
        shown = None if label_map is None or self._masks == "none" else self._shown_as[label_map]
        return Sample(image=sample.image, source=sample.source, label_map=shown)

    def _refuse_unseen(self, sample: Sample, label_map: UInt16[np.ndarray, "H W"]) -> None:
        present = frozenset(np.unique(label_map).tolist()) - {IGNORE_INDEX}
        unseen = sorted(present - self._seen)
        if not unseen:
            return
        names = [repr(self._vocabulary.names[label]) for label in unseen[:3]]
        raise DatasetError(
            doing=f"reading the labels of {sample.source}",
            found=f"masks of {', '.join(names)}{', …' if len(unseen) > 3 else ''}, which seen.txt does not list",
            expected="masks of seen classes only",
            fix="Add them to seen.txt, make their pixels void, or hide them with --data.unseen-masks hide.",
        )
