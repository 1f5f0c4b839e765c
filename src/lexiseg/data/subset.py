"""Subset: some samples of a data set, with its classes divided as one likes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.batch import Sample
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest


class Subset(LabelledDataset):
    """Samples of a data set by their number.

    Args:
        dataset: Where they come from.
        indices: Which; None for all.
        vocabulary: The same classes with another division into seen and unseen; None for the data set's.
        split: What the part is called.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        indices: Sequence[int] | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        split: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = list(range(len(dataset)) if indices is None else indices)
        self.vocabulary = vocabulary or dataset.vocabulary
        assert self.vocabulary.names == dataset.vocabulary.names, "other classes than the data set's"
        self.path, self.split = dataset.path, split or dataset.split
        self.notes = dataset.notes
        self.stems = [dataset.stems[index] for index in self.indices]

    def image_path(self, index: int) -> Path | None:
        """Return the file of one image."""
        return self.dataset.image_path(self.indices[index])

    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""
        return self.dataset[self.indices[index]]

    def read_label_map(self, index: int) -> UInt16[np.ndarray, "H W"] | None:
        """Read the label map of one sample; None where there is none."""
        return self.dataset.read_label_map(self.indices[index])

    def turned_images(self) -> list[Path]:
        """Return those of the whole data set."""
        return self.dataset.turned_images()

    def fingerprint(self) -> str:
        """Hash the data set, which samples these are, and which classes are seen: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"data set", self.dataset.fingerprint().encode())
        add_to_digest(digest, b"part", str(self.indices).encode())
        add_to_digest(digest, b"seen", str(sorted(self.vocabulary.seen or ())).encode())
        return digest.hexdigest()
