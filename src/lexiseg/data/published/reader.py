"""PublishedDataset: samples of a benchmark, read from the layout a person has."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import UInt8, UInt16
from PIL import Image

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError
from lexiseg.core.image_decoders import decode
from lexiseg.data.folder_lists import first_of, folder_error
from lexiseg.data.images import exif_orientation, load_image
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest, refuse_other_size
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import read_values
from lexiseg.data.published.layouts import Pair

#: What to do where height and width of a label file are swapped.
TURNED = "The sides are swapped: images of published sets are read as stored, so turn the label file."


class PublishedDataset(LabelledDataset):
    """Samples of a benchmark, read from the layout a person has; images are read when asked for.

    Images are taken as stored: a turn in the EXIF data is not applied, because published label files
    belong to the stored pixels.

    Args:
        facts: The benchmark.
        path: The folder of the copy.
        split: One of ``facts.splits``; None for the one numbers are reported on.
        layout: Insist on this layout; None takes the first found.

    Attributes:
        facts: The benchmark.
        layout: The layout found.
        root: Where its tree begins.
        pairs: Image and label file of each sample.

    Raises:
        DatasetError: Files are missing, or the class names are not in the copy.
    """

    def __init__(
        self, facts: DatasetFacts, path: str | Path, split: str | None = None, *, layout: str | None = None
    ) -> None:
        self.facts = facts
        self.path = Path(path)
        self.split: str = split or facts.default_split
        self.root, self.layout = facts.find(self.path, self.split, layout)
        self.vocabulary = facts.read_vocabulary(self.root)
        self.mapping = self.layout.label_mapping(self.root)
        self.stems = self.layout.stems(self.root, self.split)
        self.pairs = [
            Pair(
                stem,
                self.layout.image_path(self.root, self.split, stem),
                self.layout.label_path(self.root, self.split, stem),
            )
            for stem in self.stems
        ]
        for what, paths in (
            ("images", [pair.image for pair in self.pairs]),
            ("label files", [pair.label for pair in self.pairs]),
        ):
            missing = [str(file.relative_to(self.root)) for file in paths if not file.is_file()]
            if missing:
                raise folder_error(
                    self.path,
                    f"{len(missing):,} of {len(self.pairs):,} {what} missing: {first_of(missing)}",
                    f"image and label file of every image of the split {self.split}",
                    f"Copy them again; lexiseg datasets check {facts.name} {self.path} lists what else is wrong.",
                )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is code: facts and layout go by name."""
        state = {name: value for name, value in vars(self).items() if name not in ("facts", "mapping")}
        return {**state, "layout": self.layout.name, "facts_name": self.facts.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from lexiseg.data.datasets import dataset_facts

        self.facts = dataset_facts(state.pop("facts_name"))
        vars(self).update(state)
        self.layout = self.facts.layout(state["layout"])
        self.mapping = self.layout.label_mapping(self.root)

    def image_path(self, index: int) -> Path:
        """Return the file of one image."""
        return self.pairs[index].image

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            ImageError: The image cannot be read.
            DatasetError: The label file cannot be read, has another size than the image, or holds
                numbers that the layout does not know.
        """
        pair = self.pairs[index]
        image = load_as_stored(pair.image)
        label_map = self.read_labels(pair)
        refuse_other_size(pair.image, image.shape[:2], pair.label, label_map.shape, TURNED)
        if self.layout.shrink_to is not None:
            image, label_map = shrink(image, label_map, self.layout.shrink_to)
        return Sample(image=image, source=pair.image, label_map=label_map)

    def read_label_map(self, index: int) -> UInt16[np.ndarray, "H W"] | None:
        """Read the label map of one sample as class indices, at the size of the file."""
        return self.read_labels(self.pairs[index])

    def read_labels(self, pair: Pair) -> UInt16[np.ndarray, "H W"]:
        """Read the label map of one image as class indices, at the size of the file.

        Raises:
            DatasetError: The file cannot be read, or holds numbers that the layout does not know.
        """
        return self.to_classes(self.read_numbers(pair), pair)

    def read_numbers(self, pair: Pair) -> UInt16[np.ndarray, "H W"]:
        """Read the numbers in the label file of one image, whatever they mean; 255 of 8 bits as 65535.

        Raises:
            DatasetError: The file cannot be read.
        """
        return read_values(pair.label, self.layout.encoding, self.facts.num_classes, pair.stem)

    def to_classes(self, numbers: UInt16[np.ndarray, "H W"], pair: Pair) -> UInt16[np.ndarray, "H W"]:
        """Turn the numbers of a label file into class indices.

        Raises:
            DatasetError: There are numbers that the layout does not know; the message names the file.
        """
        labels = self.mapping.table[numbers]
        if (labels < 0).any():
            unknown = self.mapping.unknown(np.unique(numbers).tolist())
            raise DatasetError(
                doing=f"reading the label file {pair.label}",
                found=f"{int((labels < 0).sum()):,} pixels with the value {first_of(list(map(str, unknown)), 5)}",
                expected=f"{self.mapping.describe()} ({self.facts.name}, layout {self.layout.name})",
                fix=self.layout.hint(unknown) or "Use the label files as they were published.",
            )
        return labels.astype(np.uint16)

    def opened_with(self) -> dict[str, Any]:
        """Return the data set's name and the layout of its label files."""
        return {"dataset": self.facts.name, "layout": self.layout.name}

    def fingerprint(self) -> str:
        """Hash classes, stems, label files (content), what their numbers mean, images (name and size).

        Returns:
            64 hexadecimal digits; the same files elsewhere give the same.
        """
        digest = hashlib.sha256()
        add_to_digest(digest, b"data set", f"{self.facts.name} {self.split} {self.layout.name}".encode())
        add_to_digest(digest, b"classes", "\n".join(map("\t".join, self.vocabulary.all_names())).encode())
        add_to_digest(digest, b"code", self.mapping.table.tobytes())
        seen: set[Path] = set()
        for pair in self.pairs:
            add_to_digest(digest, pair.stem.encode(), str(pair.image.stat().st_size).encode())
            if pair.label not in seen:  # one file may hold the labels of all
                seen.add(pair.label)
                add_to_digest(digest, b"label", pair.label.read_bytes())
        return digest.hexdigest()


def load_as_stored(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as RGB without the turn that its EXIF data may ask for.

    Raises:
        ImageError: The image cannot be read.
    """
    upright = load_image(path)
    if not is_turned(path):
        return upright
    return decode(path, lambda image: np.array(image.convert("RGB")))


def is_turned(path: Path) -> bool:
    """Return whether the EXIF data of an image asks for a turn; False where the file cannot be read."""
    return exif_orientation(path) != 1


def shrink(
    image: UInt8[np.ndarray, "H W 3"], labels: UInt16[np.ndarray, "H W"], short_side: int
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt16[np.ndarray, "h w"]]:
    """Shrink image (bilinear) and labels (nearest) to a short side; smaller ones stay as they are."""
    height, width = labels.shape
    scale = short_side / min(height, width)
    if scale >= 1:
        return image, labels
    size = (round(width * scale), round(height * scale))
    small = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(np.int64)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(np.int64)
    return small, labels[rearrange(rows, "h -> h 1"), columns]
