"""Label files of published benchmarks: how they keep numbers, and which class each number stands for.

Formats: PNG, TIFF, two-channel colour, MATLAB, JSON. Everything is read as the numbers in the file, uint16,
with 255 of an 8-bit file as 65535. Each benchmark stores its classes in its own way: shifted by one, with gaps, with
255 or 0 for void. A ``LabelMapping`` says it once; reading, checking and converting all go through it.

PASCAL Context's trainval_merged.json (PASCAL in Detail) keeps one run-length mask a segment. Segments are painted
in the order of the file, later ones over earlier ones, as the Detail toolbox does. It is large: some 600 MB, read
once and kept in memory.
"""

import functools
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Int32, UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import decode
from lexiseg.core.constants import IGNORE_INDEX, IGNORE_INDEX_8BIT, MAX_PIXELS
from lexiseg.core.errors import DatasetError, InputError, as_found
from lexiseg.core.image_decoders import DamagedImageError
from lexiseg.core.image_decoders import decode as decode_image
from lexiseg.core.json_text import read_json_file
from lexiseg.data.label_files import read_label_map
from lexiseg.data.published.matlab_files import read_matlab_labels

#: The published file has some 600 MB.
_MOST_JSON_BYTES = 4 << 30
#: The value that read label files use for 255 (8 bits) and 65535 (16 bits).
TOP = IGNORE_INDEX
_LOCK = threading.Lock()  # several readers at once would each load the whole file


def read_context_json(path: Path, stem: str) -> UInt16[np.ndarray, "H W"]:
    """Paint the label map of one image: original category ids (0 to 458), 0 where no segment lies.

    Raises:
        DatasetError: The file is damaged, or has no such image.
    """
    with _LOCK:
        index = _load(path, path.stat().st_mtime_ns if path.is_file() else 0)
    if stem not in index:
        raise DatasetError(
            doing=f"reading the label file {path}",
            found=f"no image {stem}",
            expected=f"an entry for every listed image; it has {len(index):,}",
            fix="Use the lists of PASCAL Context, and trainval_merged.json as it was published.",
        )
    height, width, segments = index[stem]
    if not (type(height) is type(width) is int and height > 0 < width and height * width <= MAX_PIXELS):
        raise _damaged_json(path, f"an image {stem} of {as_found(height)}×{as_found(width)}")
    labels = np.zeros((height, width), np.uint16)
    for category, segment in segments:
        try:
            mask = decode(segment)
        except InputError as error:
            raise _damaged_json(path, f"a segment of {stem}: {error.found}") from error
        if mask.shape != labels.shape:
            raise _damaged_json(path, f"a segment of {stem} of another size than the image")
        labels[mask] = category
    return labels


@functools.lru_cache(maxsize=1)
def _load(path: Path, _changed: int) -> dict[Any, tuple[Any, Any, list[tuple[int, Any]]]]:
    try:
        content = read_json_file(path, _MOST_JSON_BYTES)
        segments = defaultdict(list)
        for segment in content["annos_segmentation"]:
            category = int(segment["category_id"])
            if not 0 <= category < IGNORE_INDEX:
                raise ValueError(f"category {as_found(category)}")
            segments[segment["image_id"]].append((category, segment["segmentation"]))
        return {
            Path(image["file_name"]).stem: (image["height"], image["width"], segments[image["image_id"]])
            for image in content["images"]
        }
    except (OSError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise _damaged_json(path, as_found(error, 200)) from error


def _damaged_json(path: Path, found: str) -> DatasetError:
    return DatasetError(
        doing=f"reading the label file {path}",
        found=f"a damaged or other file ({found})",
        expected="trainval_merged.json with images and annos_segmentation",
        fix="Copy it again from its source.",
    )


#: How numbers are kept in a label file.
#: ``index``: PNG or TIFF of one channel. ``red-green``: R + 256 G (ImageNet-S).
#: ``ade-colours``: R // 10 * 256 + G (ADE20K, full). ``matlab:NAME``: variable NAME of a .mat file.
#: ``context-json``: run lengths in trainval_merged.json.
Encoding: TypeAlias = Literal[
    "index", "red-green", "ade-colours", "matlab:S", "matlab:LabelMap", "matlab:GTcls", "context-json"
]


def read_values(path: Path, encoding: Encoding, num_classes: int, stem: str) -> UInt16[np.ndarray, "H W"]:
    """Read the numbers of one label file.

    Args:
        path: The file.
        encoding: How it keeps them.
        num_classes: 8-bit files are refused where 8 bits cannot hold so many.
        stem: Picks the image where one file holds all.

    Raises:
        DatasetError: The file is missing, damaged, or of another kind.
    """
    match encoding:
        case "index":
            if path.suffix.lower() in (".tif", ".tiff"):
                return _read_tiff(path, num_classes)
            return read_label_map(path, num_classes)
        case "red-green":
            red, green = _two_channels(path, "R + 256 G: an RGB PNG, blue 0")
            return red + 256 * green
        case "ade-colours":
            red, green = _two_channels(path, "R // 10 * 256 + G: the RGB file *_seg.png", blue_is_free=True)
            return red // 10 * 256 + green
        case "context-json":
            return read_context_json(path, stem)
        case _:
            return read_matlab_labels(path, encoding.removeprefix("matlab:"))


def write_values(path: Path, values: UInt16[np.ndarray, "H W"], bits: Literal[8, 16]) -> None:
    """Write numbers as an index PNG or, where the name says so, TIFF; 65535 becomes 255 in 8 bits.

    Raises:
        DatasetError: A number does not fit.
        OutputError: The file cannot be written.
    """
    if bits == 8:
        top = int(values[values != IGNORE_INDEX].max(initial=0))
        if top >= IGNORE_INDEX_8BIT:
            raise DatasetError(
                doing=f"writing the label file {path}",
                found=f"the value {top}",
                expected="values below 255 in an 8-bit file (255 is void)",
                fix="Choose a layout with 16 bits.",
            )
        image = Image.fromarray(np.where(values == IGNORE_INDEX, IGNORE_INDEX_8BIT, values).astype(np.uint8))
    else:
        image = Image.fromarray(values)
    with atomic_path(path) as temporary:
        image.save(temporary)


def _read_tiff(path: Path, num_classes: int) -> UInt16[np.ndarray, "H W"]:
    pixels, mode = _decode(path, "a TIFF of one channel, 16 bits")
    if pixels.ndim == 3:
        found, fix = f"a {mode} image", "Write one channel of 16 bits."
        raise _error(path, found, "one channel", fix)
    if pixels.dtype == np.uint8 and num_classes > IGNORE_INDEX_8BIT:
        found = f"an 8-bit file for {num_classes} classes; labels above 254 do not fit and wrap to wrong ones"
        raise _error(path, found, "16 bits", "Convert the original labels again, to 16 bits.")
    if pixels.min() < 0 or pixels.max() > IGNORE_INDEX:
        raise _error(
            path, f"values from {pixels.min()} to {pixels.max()}", "0 to 65535", "Write them as uint16."
        )
    labels = pixels.astype(np.uint16)
    if pixels.dtype == np.uint8:
        labels[labels == IGNORE_INDEX_8BIT] = IGNORE_INDEX
    return labels


def _two_channels(path: Path, expected: str, *, blue_is_free: bool = False) -> tuple[np.ndarray, np.ndarray]:
    pixels, mode = _decode(path, expected)
    if pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.dtype != np.uint8:
        raise _error(path, f"an image of mode {mode}", expected, "Use the file as it was published.")
    red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
    if not blue_is_free and blue.any():
        swapped = not red.any()
        fix = "Red and blue are swapped (written by OpenCV as RGB?): use the file as it was published."
        other = "Use the file as it was published; a resized or recoloured copy has lost the labels."
        found = "a red channel of zeros beside a blue one that is not" if swapped else "a blue channel not 0"
        raise _error(path, found, expected, fix if swapped else other)
    return red, green


def _decode(path: Path, expected: str) -> tuple[np.ndarray, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return decode_image(path, lambda image: (np.array(image), image.mode), ("PNG", "TIFF"))
    except FileNotFoundError as error:
        raise _error(path, "no file there", expected, "Check the path.") from error
    except (OSError, DamagedImageError) as error:
        raise _error(
            path, f"a damaged or unknown image ({error})", expected, "Copy it again from its source."
        ) from error


def _error(path: Path, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"reading the label file {path}", found=found, expected=expected, fix=fix)


_NOT_ALLOWED = -1


@dataclass(frozen=True, eq=False)
class LabelMapping:
    """Values of a label file and the class index each stands for.

    Attributes:
        classes: File value to class index; several values may share a class.
        void: File values that nobody scores. ``TOP`` is 255 in 8-bit and 65535 in 16-bit files.
    """

    classes: Mapping[int, int]
    void: frozenset[int] = frozenset()

    @cached_property
    def table(self) -> Int32[np.ndarray, "65536"]:
        """Class index, 65535 for void, or -1 for each of the 65,536 values."""
        table = np.full(TOP + 1, _NOT_ALLOWED, np.int32)
        table[list(self.classes)] = list(self.classes.values())
        table[list(self.void)] = IGNORE_INDEX
        return table

    def to_classes(self, values: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """Turn file values into class indices; the caller has checked them with ``unknown``."""
        return self.table[values].astype(np.uint16)

    def from_classes(self, labels: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """Turn class indices into file values: the smallest value of each class, the smallest of void.

        Void becomes ``TOP`` where the code has no void value.
        """
        table = np.full(TOP + 1, TOP, np.uint16)
        for value, label in sorted(self.classes.items(), reverse=True):
            table[label] = value
        table[IGNORE_INDEX] = min(self.void, default=TOP)
        return table[labels]

    def unknown(self, values: Iterable[int]) -> list[int]:
        """Pick the values that the code does not know, ascending."""
        return sorted(value for value in values if self.table[value] == _NOT_ALLOWED)

    def describe(self) -> str:
        """Describe the allowed values, such as ``0 to 20, void 255 (65535 in 16 bits)``."""
        text = spans(value for value in self.classes if value != TOP)
        voids = spans(value for value in self.void if value != TOP)
        top = "255 (65535 in 16 bits)" if TOP in self.void else ""
        void = " and ".join(filter(None, (voids, top)))
        return text + (f"; void {void}" if void else "; no void")


def spans(values: Iterable[int]) -> str:
    """Write numbers as spans: 0, 1, 2, 5 become ``0 to 2, 5``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], value]
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)


def identity(count: int, void: Iterable[int] = (TOP,)) -> LabelMapping:
    """Build the code in which the file holds class indices."""
    return LabelMapping({label: label for label in range(count)}, frozenset(void))


def shifted(count: int, void: Iterable[int] = (0, TOP)) -> LabelMapping:
    """Build the code in which the file holds class index plus one, and 0 for none of the classes."""
    return LabelMapping({label + 1: label for label in range(count)}, frozenset(void))
