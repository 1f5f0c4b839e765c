"""LabelledDataset: what every data set is, whatever its files look like."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary


class LabelledDataset(ABC):
    """Samples in a fixed order; images and label maps are read when a sample is asked for.

    Attributes:
        path: The folder as it was given.
        split: Name of the part of the data set, or None for all of it.
        vocabulary: The classes that label maps index.
        stems: The name of each sample, without folder of the split and without suffix.
        notes: What in the copy is not looked at, a sentence each.
    """

    path: Path
    split: str | None
    vocabulary: Vocabulary
    stems: list[str]
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.stems)

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""

    def image_path(self, index: int) -> Path | None:
        """Return the file of one image without reading it; None where it is in none."""
        return None

    def files(self) -> list[Path]:
        """List the image files, as far as images are in files."""
        return [path for index in range(len(self)) if (path := self.image_path(index)) is not None]

    def read_label_map(self, index: int) -> UInt16[np.ndarray, "H W"] | None:
        """Read the label map of one sample, where it can be had without its image; None where there is none."""
        return self[index].label_map

    def turned_images(self) -> list[Path]:
        """Return the image files with labels that are turned upright by their EXIF data when read."""
        return []

    def opened_with(self) -> dict[str, Any]:
        """Return what ``data.datasets.reopen_dataset`` needs to read labels in the same way; empty if it cannot."""
        return {}

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash what scores depend on: classes, stems, label files (content), images (name and size).

        Returns:
            64 hexadecimal digits; the same files elsewhere give the same.
        """


def add_to_digest(digest: "hashlib._Hash", name: bytes, content: bytes) -> None:
    """Add a named part; lengths keep neighbours apart."""
    digest.update(b"%d %s %d " % (len(name), name, len(content)))
    digest.update(content)


def refuse_other_size(
    image: Path, image_size: Sequence[int], label: Path, label_size: Sequence[int], turned: str
) -> None:
    """Refuse a label map that is not as large as its image.

    Args:
        image: The image.
        image_size: Height and width in pixels.
        label: The label file.
        label_size: Height and width in pixels.
        turned: What to do where height and width are swapped.

    Raises:
        DatasetError: The sizes differ.
    """
    if tuple(label_size) == tuple(image_size):
        return
    sizes = "a label map of {}×{} for the image {} of {}×{}".format(*label_size, image.name, *image_size)
    fix = "Label files keep the image's size; resize with nearest neighbour only if you must."
    raise DatasetError(
        doing=f"reading the label file {label}",
        found=f"{sizes} (height × width)",
        expected="the same size",
        fix=turned if tuple(label_size) == tuple(image_size)[::-1] else fix,
    )
