"""Read any image a person has as upright 8-bit RGB."""

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Num, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError, features

from lexiseg.core.errors import ImageError, InputError
from lexiseg.core.image_decoders import DamagedImageError, LargeImageError, decode


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, or what reads like one."""

    def read(self, size: int = -1, /) -> bytes:
        """Read some bytes, or all that are left."""


#: What a person may give as an image. Arrays are ``H W 3`` (or ``H W`` grey) uint8 RGB; tensors
#: are ``3 H W``, uint8 or floating point in [0, 1]; bytes, and open files, are those of an image file.
ImageSource: TypeAlias = str | Path | bytes | BinaryFile | Image.Image | np.ndarray | torch.Tensor

#: Suffixes of image files by the feature of Pillow that reads them; None is always there.
_SUFFIXES_BY_FEATURE = {
    None: ".jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .tif .tiff .gif .ppm .pgm .pbm .pnm .tga .qoi",
    "webp": ".webp",
    "avif": ".avif .avifs",
    "jpg_2000": ".jp2 .j2k .j2c .jpc .jpf .jpx",
}
#: Suffixes of the image files that can be read here, in lower case: the one list, for every command.
IMAGE_SUFFIXES = frozenset(
    suffix
    for feature, suffixes in _SUFFIXES_BY_FEATURE.items()
    if feature is None or features.check(feature)
    for suffix in suffixes.split()
)
_EXIF_ORIENTATION = 0x0112
#: The tag of a TIFF that names its coordinate reference system.
_GEO_KEYS = 34735
#: Tags of a TIFF: what its first samples are (1 is grey), and how many samples a pixel has.
_PHOTOMETRIC, _SAMPLES = 262, 277
_PIXELS_AT_ONCE = 1 << 22
_READABLE = "an image file (jpg, png, webp, bmp, tif, gif)"


class ImageWarning(UserWarning):
    """An image that is read, but perhaps not as it was meant.

    Attributes:
        kind: What is the same for all images with this trouble.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:  # crosses process borders
        return type(self), (str(self), self.kind)


@dataclass(frozen=True)
class ValueRange:
    """Which values of a 16- or 32-bit grey image are black and white.

    Attributes:
        limits: Black and white; None for the 1st and 99th percentile of each image.
    """

    limits: tuple[float, float] | None

    @classmethod
    def parse(cls, text: str) -> "ValueRange":
        """Read ``0..4095`` or ``percentile``.

        Raises:
            InputError: It is neither, or black is not below white.
        """
        if text == "percentile":
            return cls(None)
        low, _, high = text.partition("..")
        try:
            limits = float(low), float(high)
        except ValueError:
            limits = math.nan, math.nan
        if not -math.inf < limits[0] < limits[1] < math.inf:
            raise InputError(
                doing="reading the value range of images",
                found=repr(text),
                expected="LOW..HIGH with LOW below HIGH, or percentile",
                fix="Give 0..4095 for 12-bit images, or percentile.",
            )
        return cls(limits)

    def apply(self, grey: Num[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
        """Scale values to 0..255; what is outside becomes black or white."""
        values = np.nan_to_num(grey.astype(np.float64))
        low, high = np.percentile(values, (1, 99)) if self.limits is None else self.limits
        return np.clip((values - low) / max(high - low, 1e-12) * 255 + 0.5, 0, 255).astype(np.uint8)


def load_image(source: ImageSource, value_range: ValueRange | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as RGB, ``H W 3``, 0..255, turned upright by its EXIF orientation.

    Grey is repeated into three channels, 16-bit grey is divided by 257, CMYK is converted,
    transparency is laid over white, and of an animation the first frame is taken (with a warning).

    Args:
        source: The image.
        value_range: Black and white of 16- and 32-bit grey files and PIL images; None takes all of 16 bits, with a
            warning where an image uses less than half of them.

    Raises:
        ImageError: The image cannot be read, is not one, or is too large to decode safely.
    """
    match source:
        case np.ndarray():
            return _from_array(source)
        case torch.Tensor():
            return _from_tensor(source)
        case Image.Image():
            name = f"the {source.mode} image of {source.size[0]}×{source.size[1]}"
            with _decoding(name, "Read it again from its source, and leave its file open until it is used."):
                return _from_pil(source, name, value_range)
        case str() | Path():
            return _from_file(source, value_range)
        case bytes():
            return _from_bytes(io.BytesIO(source), f"{len(source):,} bytes", value_range)
        case _ if hasattr(source, "read"):
            return _from_bytes(source, "an open file", value_range)
    raise ImageError(
        doing="reading an image",
        found=f"a {type(source).__name__}",
        expected="a path, the bytes of an image file, a PIL image, a uint8 array H×W×3 or a tensor 3×H×W",
        fix="Convert it to one of these first.",
    )


def _from_file(source: str | Path, value_range: ValueRange | None) -> UInt8[np.ndarray, "H W 3"]:
    doing = f"reading {source}"
    if str(source).startswith(("http://", "https://")):
        raise ImageError(
            doing=doing, found="an address", expected="a file on this machine", fix="Download it first."
        )
    if not os.path.isfile(source):  # unlike Path.is_file, no error for names too long for the file system
        found = "a folder" if os.path.isdir(source) else "no file there"
        raise ImageError(doing=doing, found=found, expected=_READABLE, fix="Check the path.")
    with (
        _decoding(str(source), "Copy it again from its source.", file=source),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if os.path.getsize(source) == 0:
            raise ImageError(
                doing=doing,
                found="an empty file (0 bytes)",
                expected=_READABLE,
                fix="Copy it again from its source.",
            )
        return decode(source, lambda image: _from_pil(image, str(source), value_range))


def _from_bytes(file: Any, name: str, value_range: ValueRange | None) -> UInt8[np.ndarray, "H W 3"]:
    with _decoding(name, "Read it again from its source."), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return decode(file, lambda image: _from_pil(image, name, value_range))


@contextmanager
def _decoding(name: str, fix: str, *, file: str | Path | None = None) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError: damaged data makes them raise anything."""
    doing = f"reading {name}"
    try:
        yield
    except (ImageError, Warning):  # a warning is raised only where the person made it an error
        raise
    except UnidentifiedImageError as error:
        if file is not None and _is_tiff(file):
            raise ImageError(
                doing=doing, found="a TIFF that the image decoder does not read, perhaps of many bands or 16-bit colours",
                expected="to be told which of its bands are red, green and blue",
                fix="Give --bands 1,2,3 (or one band), counted from 1, and for 12 bits --value-range 0..4095; or save as PNG.",
            ) from error  # fmt: skip
        raise ImageError(
            doing=doing, found="data that no image decoder recognises", expected=_READABLE,
            fix="Open it in a viewer; if it shows there, save it again as PNG.",
        ) from error  # fmt: skip
    except (Image.DecompressionBombError, LargeImageError) as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(
            doing=doing, found=str(error), expected=f"at most {limit:,} pixels (a guard against files made to exhaust memory)",
            fix="Cut or shrink it first; an image that you decode yourself and give as an array has no such limit.",
        ) from error  # fmt: skip
    except MemoryError as error:
        raise ImageError(
            doing=doing, found="more pixels than fit into memory", expected="an image that does",
            fix="Cut or shrink it first.",
        ) from error  # fmt: skip
    except PermissionError as error:
        raise ImageError(
            doing=doing, found=f"no permission to read it ({error.strerror})", expected=_READABLE,
            fix="Change its permissions.",
        ) from error  # fmt: skip
    except Exception as error:
        raise ImageError(
            doing=doing, found=f"a damaged or incomplete image ({error})", expected="a complete image file",
            fix=fix,
        ) from error  # fmt: skip


def _is_tiff(file: str | Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _from_pil(image: Image.Image, name: str, value_range: ValueRange | None) -> UInt8[np.ndarray, "H W 3"]:
    if 0 in image.size:
        raise ImageError(
            doing=f"reading {name}", found="no pixels", expected="a width and a height of at least 1",
            fix="Check how it was cut or resized.",
        )  # fmt: skip
    # The further images of an MPO file, which phones write under the name .jpg, are previews of the first.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        num_frames = image.n_frames  # type: ignore[attr-defined]
        warnings.warn(
            ImageWarning(f"{name} has {num_frames} frames; only the first is segmented", "several frames"),
            stacklevel=2,
        )
        image.seek(0)
    tags = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    if (
        tags.get(_PHOTOMETRIC) == 1 and tags.get(_SAMPLES, 1) > 2
    ):  # decoded, a fourth band would be transparency
        raise ImageError(
            doing=f"reading {name}", found=f"{tags[_SAMPLES]} bands that are not called red, green and blue",
            expected="to be told which of them are", fix="Give --bands 1,2,3 (or one band), counted from 1.",
        )  # fmt: skip
    if _GEO_KEYS in tags:
        warnings.warn(
            ImageWarning(
                f"{name} has a coordinate reference system, which results here do not keep; lexiseg raster keeps it",
                "georeferenced image",
            ),
            stacklevel=2,
        )
    if image.mode in ("I", "F") and value_range is None:
        raise ImageError(
            doing=f"reading {name}", found=f"32-bit pixels (mode {image.mode}) whose black and white are not stated",
            expected="8 or 16 bits a channel",
            fix="State them with --value-range LOW..HIGH (or percentile), or scale it to 8 bits first.",
        )  # fmt: skip
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(_upright(image))
        if value_range is not None:
            return _from_array(value_range.apply(grey))
        _warn_of_dark(int(grey.max()), name)
        return _from_array(np.concatenate([_of_16_bits(grey[rows]) for rows in _bands(*grey.shape)]))
    is_16_bit = _is_16_bit_colour(image)
    if is_16_bit and value_range is not None:
        raise ImageError(
            doing=f"reading {name}", found="16-bit colour with a value range", expected="a range only for grey images",
            fix="Scale its colours to 8 bits first: of 16-bit colour only the upper 8 bits can be read here.",
        )  # fmt: skip
    image.load()
    upright = _upright(image)
    if is_16_bit:
        _warn_of_dark(256 * max(high for _, high in upright.convert("RGB").getextrema()), name)  # type: ignore[misc]
    return _on_white(upright)


def _upright(image: Image.Image) -> Image.Image:
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(_EXIF_ORIENTATION, 1)
    return found if isinstance(found, int) else 1


def _on_white(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """Lay an image over white, a band of rows at a time: a whole one would be in memory six times."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)  # not the image's own buffer, which may be read-only
    is_clear = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    for rows in _bands(height, width):
        band = image if rows == slice(0, height) else image.crop((0, rows.start, width, rows.stop))
        if is_clear:
            band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band.convert("RGBA"))
        rgb[rows] = np.asarray(band.convert("RGB"))
    return rgb


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _PIXELS_AT_ONCE // width)
    yield from (slice(top, min(top + step, height)) for top in range(0, height, step))


def _of_16_bits(grey: Num[np.ndarray, "h W"]) -> UInt8[np.ndarray, "h W"]:
    return ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _is_16_bit_colour(image: Image.Image) -> bool:
    """Return whether a file has 16 bits a channel, of which Pillow keeps the upper 8."""
    raw_modes = [str(part.args) for part in getattr(image, "tile", [])]
    return image.mode in ("RGB", "RGBA") and any(";16" in mode for mode in raw_modes)


def _warn_of_dark(highest: int, name: str) -> None:
    """Warn of a 16-bit image that uses less than half of its range: 12-bit data in 16 bits turns black."""
    if highest < 1 << 15:
        bits = max(1, highest.bit_length())
        warnings.warn(
            ImageWarning(
                f"{name} is a 16-bit image without a value above {highest:,} of 65,535 and is read dark or black;"
                f" state its range with --value-range 0..{(1 << bits) - 1} ({bits} bits) or percentile",
                "16-bit image that uses a part of its range",
            ),
            stacklevel=3,
        )


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image as it is read: upright. Only its header is looked at.

    Raises:
        ImageError: The file cannot be read.
    """
    with _decoding(str(path), "Remove it, or copy it again from its source."):
        width, height = decode(
            path, lambda image: image.size if _orientation(image) < 5 else image.size[::-1]
        )
    return height, width


def exif_orientation(path: Path) -> int:
    """Return the EXIF orientation of an image file, 1 for as stored; also where the file cannot be read.

    Whoever needs the pixels says what is wrong with them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and damaged EXIF data
            return decode(path, _orientation)
    except (OSError, DamagedImageError):
        return 1


def _from_array(array: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    is_grey = array.ndim == 2
    if (
        array.dtype != np.uint8
        or not (is_grey or (array.ndim == 3 and array.shape[2] == 3))
        or array.size == 0
    ):
        hint = "Scale it to 0..255 and call .astype(np.uint8)."
        if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
            hint = "It looks channels-first: call array.transpose(1, 2, 0), or give a tensor."
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "It has four channels: drop the last with array[..., :3], or give a PIL image."
        elif array.ndim == 4:
            hint = "It looks like a batch: give a list of images."
        raise ImageError(
            doing="reading an image array", found=f"{array.dtype} of shape {tuple(array.shape)}",
            expected="uint8 of shape (H, W, 3) in RGB order, or (H, W) grey", fix=hint,
        )  # fmt: skip
    if is_grey:
        return np.repeat(array[..., None], 3, axis=2)
    return np.array(array, order="C")  # a copy: results keep it, and the caller's may be read-only


def _from_tensor(tensor: torch.Tensor) -> UInt8[np.ndarray, "H W 3"]:
    ok = tensor.ndim == 3 and tensor.shape[0] == 3 and tensor.numel() > 0
    if ok and tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        ok = low >= 0.0 and high <= 1.0
        if ok:
            tensor = (tensor * 255).round()
        found = f"values from {low:.3g} to {high:.3g}"
    else:
        found = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
        ok = ok and tensor.dtype == torch.uint8
    if not ok:
        raise ImageError(
            doing="reading an image tensor", found=found,
            expected="one image of shape (3, H, W) in RGB order, uint8 or floating point in [0, 1], not normalised",
            fix="Undo any mean and standard deviation; the model applies its own. A batch is a list of images.",
        )  # fmt: skip
    return np.array(tensor.detach().to("cpu", torch.uint8).permute(1, 2, 0).numpy(), order="C")  # a copy
