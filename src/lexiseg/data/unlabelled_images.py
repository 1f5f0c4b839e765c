"""UnlabelledImages: a folder of images and nothing else."""

import hashlib
from pathlib import Path

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.images import IMAGE_SUFFIXES, load_image
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest

#: No label map indexes it.
_NO_CLASSES = Vocabulary(names=("anything",))


class UnlabelledImages(LabelledDataset):
    """The images of a folder, or of ``images/`` in it, in the order of their names; no labels, no tags.

    Args:
        folder: Holds jpg, png or webp files.

    Raises:
        DatasetError: There is no folder, or no image in it.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "images"
        self.path, self.split, self.vocabulary = folder, None, _NO_CLASSES
        place = inner if inner.is_dir() else folder
        files = sorted(place.iterdir()) if place.is_dir() else []
        self._files = [
            file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
        ]
        if not self._files:
            raise DatasetError(
                doing=f"reading the images of {folder}",
                found="no such folder"
                if not folder.is_dir()
                else f"no image among {len(files)} files in {place}",
                expected="jpg, png or webp files, there or in images/",
                fix="Check the path.",
            )
        self.stems = [file.stem for file in self._files]

    def __getitem__(self, index: int) -> Sample:
        """Read one image.

        Raises:
            ImageError: It cannot be read.
        """
        return Sample(image=load_image(self._files[index]), source=self._files[index])

    def fingerprint(self) -> str:
        """Hash names and sizes of the files: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for file in self._files:
            add_to_digest(digest, file.name.encode(), str(file.stat().st_size).encode())
        return digest.hexdigest()
