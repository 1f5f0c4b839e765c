"""A person's own images: a folder a class, with or without masks."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.data.images import IMAGE_SUFFIXES, load_image
from lexiseg.methods.rim.references.sources import (
    DAMAGE,
    Drawn,
    ReferenceImage,
    ReferenceSource,
    RejectedImage,
    coverage_problem,
    damaged_image,
)

#: Finds the object of an image that has no mask.
FindObject = Callable[[UInt8[np.ndarray, "H W 3"]], Bool[np.ndarray, "H W"]]

MASKS = "masks"


class FolderSource(ReferenceSource):
    """``FOLDER/<class name>/*.jpg``, in the order of their names.

    A mask is ``FOLDER/<class name>/masks/<same stem>.png``, white or any value above 0 where the object
    is. Where there is none the object is found.

    Args:
        folder: Holds a folder for each class; a space in a name may be an underscore.
        find_object: For images without a mask.
        found_by: What ``find_object`` is, for the record.

    Raises:
        DatasetError: There is no such folder, or it holds no folder.
    """

    name = "folder"

    def __init__(self, folder: Path, find_object: FindObject, *, found_by: str) -> None:
        self.folder, self.find_object, self.found_by = folder, find_object, found_by
        inner = sorted(folder.iterdir()) if folder.is_dir() else []
        self.folders = {path.name.replace("_", " ").casefold(): path for path in inner if path.is_dir()}
        if not self.folders:
            raise DatasetError(
                doing=f"looking for reference images in {folder}",
                found="no folder in it" if folder.is_dir() else "no such folder",
                expected="a folder for each class, named like the class, with images",
                fix="Check the path given with --from.",
            )

    def facts(self) -> Mapping[str, Any]:
        """Return how objects are found where there is no mask."""
        return {"object_without_mask": self.found_by}

    def content(self, class_name: str, count: int) -> str:
        """Hash the images and masks that may be drawn."""
        digest = hashlib.sha256(self.found_by.encode())
        for file in self._files(class_name)[: 2 * count]:
            digest.update(file.name.encode() + b"\n" + file.read_bytes())
            mask = _mask_of(file)
            digest.update(mask.read_bytes() if mask.is_file() else b"")
        return digest.hexdigest()

    def draw(self, class_name: str, count: int) -> Iterator[Drawn]:
        """Return the images of the class's folder with their masks, at most ``2 * count`` tried.

        What cannot be read, or has a mask of another size, is rejected.
        """
        usable = 0
        for file in self._files(class_name)[: 2 * count]:
            if usable == count:
                return
            origin = file.relative_to(self.folder).as_posix()
            given = _mask_of(file)
            try:
                image = load_image(file)
                mask = _read_mask(given, image) if given.is_file() else None
            except DAMAGE as error:
                yield damaged_image(origin, error)
                continue
            mask = self.find_object(image) if mask is None else mask
            problem = coverage_problem(mask)
            if problem:
                yield RejectedImage(origin=origin, reason=problem)
                continue
            usable += 1
            yield ReferenceImage(image=image, mask=mask, origin=origin)

    def _files(self, class_name: str) -> list[Path]:
        folder = self.folders.get(class_name.casefold())
        files = sorted(folder.iterdir()) if folder else []
        return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]


def _mask_of(file: Path) -> Path:
    return file.parent / MASKS / f"{file.stem}.png"


def _read_mask(path: Path, image: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
    with Image.open(path) as opened:
        mask = np.asarray(opened)
    mask = mask if mask.ndim == 2 else mask[..., :3].max(-1)
    if mask.shape != image.shape[:2]:
        raise DatasetError(
            doing=f"reading the mask {path}",
            found=f"{mask.shape[1]} × {mask.shape[0]} pixels",
            expected=f"the image's {image.shape[1]} × {image.shape[0]}",
            fix="Save the mask at the image's size.",
        )
    return mask > 0
