"""A person's own images: a folder a class, with or without masks."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import class_key, is_clutter, name_key
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.data.folder_lists import first_of
from lexiseg.data.image_files import PassedOver, class_folders, is_image_name, list_images
from lexiseg.data.images import load_image
from lexiseg.methods.rim.references.cutouts import read_cutout
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
_HALF = 127
#: Formats of Pillow that may change values a little.
_BLURRING = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")


class FolderSource(ReferenceSource):
    """``FOLDER/<class name>/*.jpg`` and its subfolders, in the order of their paths.

    A mask is ``masks/<same stem>.png`` beside the image, white or any value above 0 where the object is, or its
    mask channel (alpha) where it has one that is not the same everywhere. A mask that was saved as JPEG or the
    like, which blurs it, is the object where it is brighter than half. Without such a file the image's own mask
    channel will do: what is see-through is not the object. Without that the object is found.

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
        self.passed_over = PassedOver()
        self._blurred_masks: set[Path] = set()
        self._without_image: set[str] = set()
        self._listed: dict[str, list[Path]] = {}
        inner = class_folders(folder, self.passed_over)
        self.folders = {class_key(path.name.replace("_", " ")): path for path in inner}
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

    def notes(self) -> list[str]:
        """Return what was not looked at in the folders of the classes that were asked for."""
        notes = [note] if (note := self.passed_over.note(self.folder)) else []
        if self._blurred_masks:
            first = min(self._blurred_masks).relative_to(self.folder).as_posix()
            notes.append(
                f"{len(self._blurred_masks):,} masks are JPEG files or the like ({first}, …), which blur them:"
                " the object is where they are brighter than half. PNG keeps a mask as it is"
            )
        if self._without_image:
            names = sorted(self._without_image)
            notes.append(f"{len(names):,} masks without an image of the same stem: {first_of(names)}")
        return notes

    def content(self, class_name: str, count: int) -> str:
        """Hash the images and masks that may be drawn."""
        digest = hashlib.sha256(self.found_by.encode())
        for file in self._files(class_name)[: 2 * count]:
            digest.update(file.name.encode() + b"\n" + file.read_bytes())
            mask = self._mask_of(file)
            digest.update(b"" if mask is None else mask.read_bytes())
        return digest.hexdigest()

    def draw(self, class_name: str, count: int) -> Iterator[Drawn]:
        """Return the images of the class's folder with their masks, at most ``2 * count`` tried.

        What cannot be read, or has a mask of another size or one that cannot be used, is rejected.

        Raises:
            DatasetError: An image has two masks.
        """
        usable = 0
        for file in self._files(class_name)[: 2 * count]:
            if usable == count:
                return
            origin = file.relative_to(self.folder).as_posix()
            given = self._mask_of(file)
            has_own = given is None and _has_mask_channel(file)
            mask = None
            try:
                if has_own:
                    image, mask = read_cutout(file)
                else:
                    image = load_image(file)
                if given is not None:
                    mask = self._read_mask(given, image)
            except DAMAGE as error:
                yield damaged_image(origin, error)
                continue
            mask = self.find_object(image) if mask is None else mask
            problem = coverage_problem(mask)
            if problem:
                yield RejectedImage(origin=origin, reason=problem)
                continue
            usable += 1
            # What is see-through shows grey, not a scene.
            yield ReferenceImage(
                image=image,
                mask=mask,
                origin=origin,
                mask_is_given=given is not None or has_own,
                has_scene=not has_own,
            )

    def _files(self, class_name: str) -> list[Path]:
        key = class_key(class_name)
        folder = self.folders.get(key)
        if folder is None:
            return []
        if key not in self._listed:
            inner = PassedOver()
            files = list_images(folder, inner)
            self.passed_over.add_below(folder.name, inner)
            images = [file for file in files if file.parent.name != MASKS]
            self._listed[key] = images
            known = {(file.parent, name_key(file.stem)) for file in images}
            self._without_image |= {
                file.relative_to(self.folder).as_posix()
                for file in files
                if file.parent.name == MASKS and (file.parent.parent, name_key(file.stem)) not in known
            }
        return self._listed[key]

    def _mask_of(self, file: Path) -> Path | None:
        """Find the mask of an image, whatever kind of image file it is; a PNG comes before others."""
        folder = file.parent / MASKS
        if not folder.is_dir():
            return None
        stem = name_key(file.stem)
        same = [
            path
            for path in sorted(folder.iterdir())
            if name_key(path.stem) == stem and is_image_name(path.name) and not is_clutter(path.name)
        ]
        png = [path for path in same if path.suffix.lower() == ".png"]
        if len(png or same) > 1:
            raise DatasetError(
                doing=f"looking for the mask of {file}",
                found=f"{len(png or same)} of its stem: {first_of([path.name for path in png or same])}",
                expected="one mask an image",
                fix="Remove all but one.",
            )
        return next(iter(png or same), None)

    def _read_mask(self, path: Path, image: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
        try:
            kind, channels, mask = decode(
                path, lambda opened: (opened.format, opened.getbands(), np.asarray(opened))
            )
        except (OSError, DamagedImageError) as error:
            raise _mask_error(
                path, f"a damaged or unknown file ({error})", "a mask", "Save it again as PNG."
            ) from error
        is_blurred = kind in _BLURRING
        if mask.ndim == 3:
            alpha = mask[..., -1] if channels[-1] == "A" else mask[:1, :1, 0]
            # A mask drawn as a cut-out has the object in its alpha; one saved with an opaque alpha, in its colours.
            mask = alpha if np.ptp(alpha) else mask[..., : 3 if len(channels) > 2 else 1].max(-1)
            is_blurred |= bool(np.ptp(alpha))
        if mask.shape != image.shape[:2]:
            raise _mask_error(
                path,
                f"{mask.shape[1]} × {mask.shape[0]} pixels",
                f"the image's {image.shape[1]} × {image.shape[0]}",
                "Save the mask at the image's size.",
            )
        if not is_blurred:
            return mask > 0
        if mask.max() <= _HALF:
            raise _mask_error(
                path,
                f"a {path.suffix} file whose brightest pixel is {mask.max()}",
                "black, and white where the object is: such files change small values",
                "Save the mask as PNG from its source.",
            )
        self._blurred_masks.add(path)
        return mask > _HALF


def _mask_error(path: Path, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"reading the mask {path}", found=found, expected=expected, fix=fix)


def _has_mask_channel(file: Path) -> bool:
    """Return whether some of an image is see-through; a file that cannot be read is left to its reader."""
    try:
        return decode(file, _is_see_through)
    except (OSError, DamagedImageError):
        return False


def _is_see_through(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() <= _HALF)
