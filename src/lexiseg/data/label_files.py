"""Label files: index PNGs of 1 to 16 bits, read as uint16 label maps with 65535 = void.

A label file holds indices, not colours. Libraries that read images change indices in several
ways (a palette is applied, 2- and 4-bit greys are stretched to 0..255); none of these happens here.
"""

import functools
import io
import math
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8, UInt16

from lexiseg.core.constants import IGNORE_INDEX, IGNORE_INDEX_8BIT
from lexiseg.core.errors import DatasetError
from lexiseg.core.image_decoders import DamagedImageError, LargeImageError, decode
from lexiseg.data.png_chunks import SIGNATURE, damage_of_png

_EXPECTED = "an index PNG: one channel (grey or palette), 8 or 16 bits"
_BIT_DEPTH_AT = 24  # after signature, chunk head, width and height

#: Values that all are multiples of such a number are steps of grey, not class indices.
LEAST_GREY_STEP = 10

LabelArray = TypeVar("LabelArray", UInt8[np.ndarray, "H W"], UInt16[np.ndarray, "H W"])


def read_label_map(path: str | Path, num_classes: int | None = None) -> UInt16[np.ndarray, "H W"]:
    """Read an index PNG as class indices; 255 (up to 8 bits) and 65535 (16 bits) become 65535 = void.

    Args:
        path: The label file.
        num_classes: If given, 8-bit files are refused where 8 bits cannot hold the classes.

    Every checksum of the file is looked at: decoders leave those of the pixels out.

    Raises:
        DatasetError: The file is missing, damaged, not a PNG, or holds colours.
    """
    path = Path(path)
    data = _read(path)
    if damage := damage_of_png(data):
        raise _error(
            path, f"a damaged or incomplete PNG ({damage})", "Write or copy it again from its source."
        )
    try:
        mode, pixels = decode(io.BytesIO(data), lambda image: (image.mode, np.array(image)), ("PNG",))
    except LargeImageError as error:
        raise _error(
            path, f"an image too large to decode safely ({error})", "Cut it into tiles first."
        ) from error
    except (OSError, DamagedImageError) as error:
        raise _error(
            path, f"a damaged or incomplete PNG ({error})", "Write or copy it again from its source."
        ) from error
    if pixels.ndim == 3:
        raise _colour_error(path, pixels, mode)
    if mode.startswith("I"):
        return pixels.astype(np.uint16)
    if num_classes is not None and num_classes > IGNORE_INDEX_8BIT:
        raise _error(
            path,
            f"an 8-bit file for {num_classes} classes; labels above 254 do not fit and wrap to wrong ones",
            "Write the labels again as 16-bit PNG, with 65535 = void.",
        )
    labels = pixels.astype(np.uint16)
    bit_depth = data[_BIT_DEPTH_AT]
    if mode == "L" and bit_depth in (2, 4):
        labels //= 255 // (2**bit_depth - 1)  # the decoder stretched 0..3 or 0..15 to 0..255
    if bit_depth == 8:
        labels[labels == IGNORE_INDEX_8BIT] = IGNORE_INDEX
    return labels


def check_labels(labels: UInt16[np.ndarray, "H W"], num_classes: int, path: str | Path) -> None:
    """Refuse labels that are neither below ``num_classes`` nor 65535.

    Raises:
        DatasetError: Names the file, the values and the likely cause.
    """
    wrong = labels[(labels >= num_classes) & (labels != IGNORE_INDEX)]
    if not wrong.size:
        return
    values = np.unique(wrong).tolist()
    shown = ", ".join(map(str, values[:5])) + (", …" if len(values) > 5 else "")
    fix = "Check that classes.txt lists every class, in label order."
    if values == [num_classes]:
        fix += (
            " The labels may be one too high, with 0 for pixels of no class, as in ADE20K:"
            " then read the folder with reduce_zero=True (--reduce-zero)."
        )
    elif values == [254]:
        fix = "254 is what subtracting one makes of void (255): use reduce_zero_label, which keeps void."
    elif _are_grey_steps(np.unique(labels).tolist()):
        fix = (
            "The values look like steps of grey or a mask saved black and white: write 0, 1, 2, … in the order of"
            " classes.txt instead."
        )
    raise DatasetError(
        doing=f"reading the label file {path}",
        found=f"{wrong.size:,} pixels with label {shown}",
        expected=f"0 to {num_classes - 1} for {num_classes} classes, or void (255 in 8 bits, 65535 in 16)",
        fix=fix,
    )


def _are_grey_steps(values: list[int]) -> bool:
    values = [IGNORE_INDEX_8BIT if value == IGNORE_INDEX else value for value in values]
    return len(values) > 1 and math.gcd(*values) >= LEAST_GREY_STEP


def reduce_zero_label(labels: LabelArray) -> LabelArray:
    """Drop label 0 from scoring: 0 becomes void, every other label one less, void stays void.

    For data sets whose label 0 means "none of the classes" (ADE20K-150, VOC-20, Context-59). Void is
    255 in uint8 and 65535 in uint16. A bare subtraction would turn void into an ordinary label.
    """
    void = np.iinfo(labels.dtype).max
    return np.where((labels == 0) | (labels == void), void, labels - 1).astype(labels.dtype)


def voc_colours() -> UInt8[np.ndarray, "256 3"]:
    """Compute the RGB palette of PASCAL VOC label files: the bits of the index, spread over the channels."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def voc_colours_to_labels(rgb: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Turn VOC colours back into indices (255 = void).

    Raises:
        DatasetError: A colour is not in the palette.
    """
    table = _index_of_colour()
    packed = _pack(rgb)
    labels = table[packed]
    if (labels < 0).any():
        colour = rgb[labels < 0][0].tolist()
        raise DatasetError(
            doing="turning VOC colours into labels",
            found=f"the colour {tuple(colour)} in {int((labels < 0).sum()):,} pixels",
            expected="only the 256 colours of the VOC palette",
            fix="Use the original palette PNG; a JPEG or a resized image has lost the labels.",
        )
    return labels.astype(np.uint8)


@functools.cache
def _index_of_colour() -> np.ndarray:
    table = np.full(1 << 24, -1, np.int16)
    table[_pack(voc_colours())] = np.arange(256)
    return table


def _pack(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _read(path: Path) -> bytes:
    try:
        head = path.read_bytes()
    except OSError as error:
        raise _error(path, error.strerror or str(error), "Check the path.") from error
    if not head:
        raise _error(path, "an empty file (0 bytes)", "Write or copy it again from its source.")
    if not head.startswith(SIGNATURE):
        is_jpeg = head.startswith(b"\xff\xd8")
        raise _error(
            path,
            "a JPEG, whose compression changes labels" if is_jpeg else "data that is not a PNG",
            "Write the labels again as PNG from their source.",
        )
    if len(head) <= _BIT_DEPTH_AT:
        raise _error(
            path, f"a PNG cut off after {len(head)} bytes", "Write or copy it again from its source."
        )
    return head


def _colour_error(path: Path, pixels: np.ndarray, mode: str) -> DatasetError:
    first = pixels[..., 0]
    if mode == "LA":
        fix = "Drop the transparency: Image.open(f).getchannel(0).save(f)."
    elif (pixels[..., 1:3] == first[..., None]).all():
        fix = "All channels are equal, so one is the label: Image.open(f).getchannel(0).save(f)."
    elif (_index_of_colour()[_pack(pixels[..., :3])] >= 0).all():
        fix = (
            "The colours are the VOC palette's: a palette PNG was saved as RGB. Use the original file, or"
            " turn the colours back with lexiseg.data.label_files.voc_colours_to_labels:"
            " Image.fromarray(voc_colours_to_labels(np.array(Image.open(f).convert('RGB')))).save(f)."
        )
    else:
        fix = (
            "Use the palette or grey file it was made from, or map each colour to its index and save mode L."
        )
    return _error(path, f"a colour image ({mode}): the class indices are lost in it", fix)


def _error(path: Path, found: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"reading the label file {path}", found=found, expected=_EXPECTED, fix=fix)
