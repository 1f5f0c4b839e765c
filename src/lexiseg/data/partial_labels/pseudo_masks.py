"""Pseudo masks: what a trained model says of the classes that an image has a tag and no mask for.

Re-training in SimFormer (Chen et al., NeurIPS 2022) follows RETAB (Zhou et al., BMVC 2022).
"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.label_files import check_labels, read_label_map
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest, refuse_other_size
from lexiseg.data.partial_labels.masked_labels import MaskedLabels

_AGAIN = "Write the pseudo masks again."


def pseudo_map(
    prediction: UInt16[np.ndarray, "H W"], tags: frozenset[int], known: UInt16[np.ndarray, "H W"] | None
) -> UInt16[np.ndarray, "H W"]:
    """Keep what a prediction says of tagged classes, and let masks win everywhere.

    Args:
        prediction: Best of all classes at each pixel.
        tags: Classes that the image shows without a mask.
        known: Label map of the image's masks; None where it has none.
    """
    pseudo = np.where(np.isin(prediction, list(tags)), prediction, np.uint16(IGNORE_INDEX))
    return pseudo if known is None else np.where(known == IGNORE_INDEX, pseudo, known)


def pseudo_mask_path(folder: Path, stem: str) -> Path:
    """Return the file of an image's pseudo masks; a stem may name folders."""
    return folder / f"{stem}.png"


def write_pseudo_mask(folder: Path, stem: str, label_map: UInt16[np.ndarray, "H W"]) -> None:
    """Write a label map as a 16-bit PNG, whole or not at all.

    Raises:
        OutputError: The folder cannot be written.
    """
    path = pseudo_mask_path(folder, stem)
    with atomic_path(path) as temporary:
        Image.fromarray(label_map).save(temporary, format="PNG")


class PseudoMaskedDataset(LabelledDataset):
    """A weak-shot data set whose label maps come from a folder of pseudo masks; all classes are seen.

    An image without such a file keeps its own masks of seen classes.

    Args:
        masked_labels: The data set without its hidden masks.
        folder: Folder that ``write_pseudo_mask`` wrote to.
    """

    def __init__(self, masked_labels: MaskedLabels, folder: Path) -> None:
        self.masked_labels, self.folder = masked_labels, folder
        self.path, self.split, self.stems = masked_labels.path, masked_labels.split, masked_labels.stems
        everything = frozenset(range(len(masked_labels.vocabulary)))
        self.vocabulary = dataclasses.replace(masked_labels.vocabulary, seen=everything)

    def image_path(self, index: int) -> Path | None:
        """Return the file of one image."""
        return self.masked_labels.image_path(index)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            DatasetError: Its pseudo mask cannot be read, or has another size than the image.
        """
        sample = self.masked_labels[index]
        path = pseudo_mask_path(self.folder, self.stems[index])
        label_map = sample.label_map
        if path.is_file():
            label_map = read_label_map(path, len(self.vocabulary))
            refuse_other_size(sample.source, sample.image.shape[:2], path, label_map.shape, _AGAIN)
            check_labels(label_map, len(self.vocabulary), path)
        return dataclasses.replace(sample, label_map=label_map, tags=None)

    def labelled(self) -> list[int]:
        """Return the samples that show a label; reads all. An image of unseen classes may have got none."""
        label_maps = (self[index].label_map for index in range(len(self)))
        shown = [found is not None and bool((found != IGNORE_INDEX).any()) for found in label_maps]
        return [index for index, is_shown in enumerate(shown) if is_shown]

    def fingerprint(self) -> str:
        """Hash the data set and the pseudo masks: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"view", self.masked_labels.fingerprint().encode())
        for stem in self.stems:
            path = pseudo_mask_path(self.folder, stem)
            add_to_digest(digest, stem.encode(), path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()


class WithPseudoMasks(LabelledDataset):
    """A data set whose label maps come from a folder of pseudo masks alone; its own are not looked at.

    An image without such a file has no label map.

    Args:
        dataset: Gives the images and the classes.
        folder: Of ``write_pseudo_mask``.
    """

    def __init__(self, dataset: LabelledDataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.path, self.split, self.stems = dataset.path, dataset.split, dataset.stems
        self.vocabulary = dataset.vocabulary

    def image_path(self, index: int) -> Path | None:
        """Return the file of one image."""
        return self.dataset.image_path(index)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            DatasetError: Its pseudo mask cannot be read, or has another size than the image.
        """
        sample = self.dataset[index]
        path = pseudo_mask_path(self.folder, self.stems[index])
        label_map = None
        if path.is_file():
            label_map = read_label_map(path, len(self.vocabulary))
            refuse_other_size(sample.source, sample.image.shape[:2], path, label_map.shape, _AGAIN)
            check_labels(label_map, len(self.vocabulary), path)
        return dataclasses.replace(sample, label_map=label_map, tags=None)

    def fingerprint(self) -> str:
        """Hash the data set and the pseudo masks: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"data set", self.dataset.fingerprint().encode())
        for stem in self.stems:
            path = pseudo_mask_path(self.folder, stem)
            add_to_digest(digest, stem.encode(), path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()
