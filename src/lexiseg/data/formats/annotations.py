"""Annotations of other tools as label maps: what a reader gives and what a writer takes, whatever the format.

Label maps know one class a pixel. Where regions of a file overlap, later ones lie over earlier ones, as tools draw
them (``z_order`` first, where a format has it). What no region covers is background where the file has a class
of that name, and void otherwise.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import RunLengths, decode
from lexiseg.core.constants import IGNORE_INDEX, MAX_PIXELS
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.file_names import class_key
from lexiseg.data.formats.polygons import fill, why_no_polygon
from lexiseg.data.image_files import PassedOver

#: A region: points ``x, y`` in pixels from the upper left corner, or run lengths, or pixels with their upper left corner.
Outline: TypeAlias = Float64[np.ndarray, "N 2"]
Patch: TypeAlias = tuple[Bool[np.ndarray, "h w"], int, int]
Reader: TypeAlias = Callable[[tuple[int, int] | None], UInt16[np.ndarray, "H W"]]


_BACKGROUND = frozenset({"background", "_background_", "__background__"})


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImage:
    """One image whose label map is written.

    Attributes:
        stem: Its name without suffix; may hold folders.
        id: Its number, unique in the file.
        file_name: Where it is, below its folder.
        label_map: Class index per pixel; 65535 = void, which gets no region.
        scores: Score of each class that has one; others are written without.
        source: The image file, for formats that keep images; None where it is not known.
    """

    stem: str
    id: int
    file_name: str
    label_map: UInt16[np.ndarray, "H W"]
    scores: Mapping[int, float] = field(default_factory=dict)
    source: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A region that a file marks.

    Attributes:
        label: Its class; None where the file says that it is to be ignored, which makes void.
        shape: Outlines that are joined, run lengths, or a patch of pixels.
        order: Higher ones lie above lower ones.
    """

    label: int | None
    shape: "Sequence[Outline] | RunLengths | Patch"
    order: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedImage:
    """An image of an annotation file.

    Attributes:
        file_name: As the file has it, with ``/`` between folders.
        read: Gives the label map; takes height and width of the image, needed where the file does not say them.
        size: Height and width as the file says them; None where it does not.
        split: The part of the data set that the file puts it in, such as ``val``; None where it does not.
    """

    file_name: str
    read: Reader
    size: tuple[int, int] | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotationSet:
    """What a file, or a folder of files, of another tool says.

    Attributes:
        format: Name of the format.
        names: Class names in label order.
        images: In the order of the file.
        skipped: What is not looked at, counted by reason.
    """

    format: str
    names: tuple[str, ...]
    images: tuple[ListedImage, ...]
    skipped: PassedOver

    @property
    def background(self) -> int | None:
        """Return the label of what no region covers; None for void."""
        return background_of(self.names)


def copy_image(image: LabelledImage, folder: Path) -> None:
    """Copy the image's file into a folder under its stem, where it is known and not there already.

    Raises:
        OutputError: It cannot be written.
    """
    if image.source is None or (target := folder / f"{image.stem}{image.source.suffix}").is_file():
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(image.source, temporary)


def background_of(names: Sequence[str]) -> int | None:
    """Return the label of the class that stands for "none of the others"; None where there is none."""
    return next((label for label, name in enumerate(names) if class_key(name) in _BACKGROUND), None)


def reader_of(regions: Sequence[Region], background: int | None, size: tuple[int, int] | None) -> Reader:
    """Return what paints the regions of one image when its label map is asked for.

    Args:
        regions: In the order of the file.
        background: Label of what no region covers; None for void.
        size: Height and width as the file says them.
    """
    ordered = sorted(regions, key=lambda region: region.order)

    def read(image_size: tuple[int, int] | None) -> UInt16[np.ndarray, "H W"]:
        height, width = size or image_size or (0, 0)
        assert height * width, "a size is known"
        label_map = np.full((height, width), IGNORE_INDEX if background is None else background, np.uint16)
        for region in ordered:
            _paint(label_map, region)
        return label_map

    return read


def _paint(label_map: UInt16[np.ndarray, "H W"], region: Region) -> None:
    label = IGNORE_INDEX if region.label is None else region.label
    height, width = label_map.shape
    if isinstance(region.shape, dict):
        label_map[decode(region.shape)] = label
    elif isinstance(region.shape, tuple) and len(region.shape) == 3 and isinstance(region.shape[1], int):
        mask, left, top = region.shape
        there = label_map[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
        seen = mask[max(-top, 0) :, max(-left, 0) :][: there.shape[0], : there.shape[1]]
        there[seen] = label
    else:
        label_map[fill(region.shape, height, width)] = label


class Regions:
    """Gathers the regions of one image, and counts those that cannot be used.

    Args:
        where: What the file calls the image.
        size: Height and width as the file says them; None where it does not.
        skipped: Counts.
    """

    def __init__(self, where: str, size: tuple[int, int] | None, skipped: PassedOver) -> None:
        self.found: list[Region] = []
        self._where = where
        self._size = size
        self._skipped = skipped

    def skip(self, reason: str) -> None:
        """Count a region that is not used."""
        self._skipped.add(reason, self._where)

    def add_outlines(self, label: int | None, outlines: Sequence[Any], order: float = 0.0) -> None:
        """Add a region by its outlines, each ``x, y, x, y, …`` in pixels; those that are none are counted."""
        good = []
        for outline in outlines:
            points, problem = why_no_polygon(outline, self._size)
            if problem:
                self.skip(problem)
            else:
                good.append(points)
        if good:
            self.found.append(Region(label=label, shape=good, order=order))

    def add_runs(self, label: int | None, runs: Any, order: float = 0.0) -> None:
        """Add a region by run lengths of a mask as large as the image; damaged ones are counted."""
        try:
            mask = decode(runs)
        except InputError as error:
            self.skip(f"mask with {error.found}")
            return
        if self._size is not None and mask.shape != self._size:
            self.skip("mask of another size than its image")
            return
        self.found.append(Region(label=label, shape=runs, order=order))

    def add_patch(self, label: int | None, patch: Patch, order: float = 0.0) -> None:
        """Add a region by its pixels and the place of their upper left corner."""
        self.found.append(Region(label=label, shape=patch, order=order))


def size_of(height: object, width: object) -> tuple[int, int] | None:
    """Return height and width where a file says usable ones; None otherwise."""
    try:
        size = int(height), int(width)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 and size[0] * size[1] <= MAX_PIXELS else None


def annotation_error(path: Path, found: str, expected: str, fix: str) -> DatasetError:
    """Build the error of an annotation file that cannot be used."""
    return DatasetError(doing=f"reading the annotations {path}", found=found, expected=expected, fix=fix)
