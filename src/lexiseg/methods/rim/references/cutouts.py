"""Cut-out images (RGBA) with names: the alpha channel is the mask."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import class_key, name_key
from lexiseg.core.image_decoders import decode
from lexiseg.data.image_files import PassedOver, list_images
from lexiseg.data.images import load_image
from lexiseg.methods.rim.references.sources import (
    DAMAGE,
    Drawn,
    ReferenceImage,
    ReferenceSource,
    RejectedImage,
    coverage_problem,
    damaged_image,
)

#: Grey between black and white, so that neither dark nor light objects melt into it.
BACKDROP = 127

_TABLE = "names.tsv"


class CutoutSource(ReferenceSource):
    """A folder of RGBA images, and which of them show a class.

    ``names.tsv`` (file, tab, name, tab, further names separated by commas; a header line is fine)
    names them; without it an image is named by its file, ``hot_dog.png``. Images whose own name is
    the class name come first, then those with the class name among their further names.

    Args:
        folder: Holds the images, itself or in ``cutouts``, and perhaps ``names.tsv``.

    Raises:
        DatasetError: The folder or its images are not there, or the table cannot be read.
    """

    name = "cutouts"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        images = folder / "cutouts" if (folder / "cutouts").is_dir() else folder
        self.passed_over = PassedOver()
        files = list_images(images, self.passed_over) if images.is_dir() else []
        self.passed_over.forget(_TABLE)
        self.files = {name_key(file.relative_to(images).as_posix()): file for file in files}
        if not self.files:
            raise DatasetError(
                doing=f"looking for cut-out images in {folder}",
                found="no image" if folder.is_dir() else "no such folder",
                expected="RGBA images (png or webp) in it or in its folder cutouts",
                fix="Check the path given with --from.",
            )
        self.by_name: dict[str, list[str]] = {}
        for first in (True, False):
            for file, own, further in self._table():
                for word in [own] if first else further:
                    listed = self.by_name.setdefault(class_key(word), [])
                    if file not in listed:
                        listed.append(file)

    def notes(self) -> list[str]:
        """Return what in the folder is not looked at, other than the table."""
        return [note] if (note := self.passed_over.note(self.folder)) else []

    def facts(self) -> Mapping[str, Any]:
        """Return the backdrop's grey."""
        return {"backdrop": BACKDROP}

    def content(self, class_name: str, count: int) -> str:
        """Hash the files that may be drawn."""
        digest = hashlib.sha256()
        for file in self.by_name.get(class_key(class_name), [])[: 2 * count]:
            digest.update(file.encode() + b"\n" + self.files[file].read_bytes())
        return digest.hexdigest()

    def draw(self, class_name: str, count: int) -> Iterator[Drawn]:
        """Return the cut-outs of a class on grey; what is not see-through anywhere is rejected."""
        usable = 0
        for file in self.by_name.get(class_key(class_name), [])[: 2 * count]:
            if usable == count:
                return
            try:
                image, mask = read_cutout(self.files[file])
            except DAMAGE as error:
                yield damaged_image(file, error)
                continue
            problem = coverage_problem(mask)
            if problem:
                yield RejectedImage(origin=file, reason=problem)
                continue
            usable += 1
            yield ReferenceImage(image=image, mask=mask, origin=file, has_scene=False, mask_is_given=True)

    def _table(self) -> list[tuple[str, str, list[str]]]:
        table = self.folder / _TABLE
        if not table.is_file():
            return [(file, Path(file).stem.replace("_", " "), []) for file in self.files]
        try:
            lines = table.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                doing=f"reading {table}",
                found=str(error),
                expected="UTF-8 text: file, tab, name, tab, further names",
                fix="Save it as UTF-8.",
            ) from error
        rows = [line.split("\t") for line in lines if line.strip()]
        return [
            (name_key(row[0]), row[1], row[2].split(",") if len(row) > 2 else [])
            for row in rows
            if len(row) > 1 and name_key(row[0]) in self.files
        ]


def read_cutout(path: Path) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    """Return an image laid on grey, upright, and where its mask channel (alpha) is at least half opaque.

    Raises:
        ImageError: It cannot be read.
    """
    load_image(path)  # raises what is to be known about a damaged file
    cutout = decode(path, lambda opened: ImageOps.exif_transpose(opened).convert("RGBA"))
    backdrop = Image.new("RGBA", cutout.size, (BACKDROP, BACKDROP, BACKDROP, 255))
    image = np.array(Image.alpha_composite(backdrop, cutout).convert("RGB"))
    return image, np.asarray(cutout)[..., 3] > 127
