"""UnlabelledImages: a folder of images and nothing else."""

import hashlib
from pathlib import Path

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import name_key
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.folder_lists import stem_of
from lexiseg.data.image_files import PassedOver, list_images
from lexiseg.data.images import load_image
from lexiseg.data.labelled_dataset import LabelledDataset, add_to_digest

#: No label map indexes it.
_NO_CLASSES = Vocabulary(names=("anything",))


class UnlabelledImages(LabelledDataset):
    """The images of a folder, or of ``images/`` in it, with its subfolders, in the order of their paths; no labels, no tags.

    Args:
        folder: Holds jpg, png or webp files.

    Raises:
        DatasetError: There is no folder, or no image in it.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "images"
        self.path, self.split, self.vocabulary = folder, None, _NO_CLASSES
        place = inner if inner.is_dir() else folder
        passed_over = PassedOver()
        self._files = sorted(list_images(place, passed_over)) if place.is_dir() else []
        if not self._files:
            raise DatasetError(
                doing=f"reading the images of {folder}",
                found="no such folder"
                if not folder.is_dir()
                else f"no image in {place} ({passed_over.text() or 'empty'})",
                expected="jpg, png or webp files, there or in images/",
                fix="Check the path.",
            )
        self.notes = [note] if (note := passed_over.note(place)) else []
        self._place = place
        self.stems = [stem_of(file, place) for file in self._files]

    def image_path(self, index: int) -> Path:
        """Return the file of one image."""
        return self._files[index]

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
            name = name_key(file.relative_to(self._place).as_posix())
            add_to_digest(digest, name.encode("utf-8", "surrogateescape"), str(file.stat().st_size).encode())
        return digest.hexdigest()
