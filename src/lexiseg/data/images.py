"""Read any image a person has as upright 8-bit RGB."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from lexiseg.core.errors import ImageError

#: What a person may give as an image. Arrays are ``H W 3`` (or ``H W`` grey) uint8 RGB; tensors
#: are ``3 H W``, uint8 or floating point in [0, 1].
ImageSource: TypeAlias = str | Path | Image.Image | np.ndarray | torch.Tensor

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_READABLE = "an image file (jpg, png, webp, bmp, tif, gif)"


def load_image(source: ImageSource) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as RGB, ``H W 3``, 0..255, turned upright by its EXIF orientation.

    Grey is repeated into three channels, 16-bit grey is divided by 257, CMYK is converted,
    transparency is laid over white, and of an animation the first frame is taken (with a warning).

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
                return _from_pil(source, name)
        case str() | Path():
            return _from_file(source)
    raise ImageError(
        doing="reading an image",
        found=f"a {type(source).__name__}",
        expected="a path, a PIL image, a uint8 array H×W×3 or a tensor 3×H×W",
        fix="Convert it to one of these first.",
    )


def _from_file(source: str | Path) -> UInt8[np.ndarray, "H W 3"]:
    doing = f"reading {source}"
    if str(source).startswith(("http://", "https://")):
        raise ImageError(
            doing=doing, found="an address", expected="a file on this machine", fix="Download it first."
        )
    if not os.path.isfile(source):  # unlike Path.is_file, no error for names too long for the file system
        found = "a folder" if os.path.isdir(source) else "no file there"
        raise ImageError(doing=doing, found=found, expected=_READABLE, fix="Check the path.")
    with _decoding(str(source), "Copy it again from its source."), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if os.path.getsize(source) == 0:
            raise ImageError(
                doing=doing,
                found="an empty file (0 bytes)",
                expected=_READABLE,
                fix="Copy it again from its source.",
            )
        with Image.open(source) as image:
            return _from_pil(image, str(source))


@contextmanager
def _decoding(name: str, fix: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError: damaged data makes them raise anything."""
    doing = f"reading {name}"
    try:
        yield
    except (ImageError, Warning):  # a warning is raised only where the person made it an error
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            doing=doing, found="data that no image decoder recognises", expected=_READABLE,
            fix="Open it in a viewer; if it shows there, save it again as PNG.",
        ) from error  # fmt: skip
    except Image.DecompressionBombError as error:
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


def _from_pil(image: Image.Image, name: str) -> UInt8[np.ndarray, "H W 3"]:
    if getattr(image, "n_frames", 1) > 1:
        warnings.warn(f"{name} has {image.n_frames} frames; only the first is segmented", stacklevel=2)  # type: ignore[attr-defined]
        image.seek(0)
    if image.mode in ("I", "F"):
        raise ImageError(
            doing=f"reading {name}", found=f"32-bit pixels (mode {image.mode}) whose black and white are not stated",
            expected="8 or 16 bits a channel", fix="Scale it to 8 bits first, with the black and white that you mean.",
        )  # fmt: skip
    if image.mode.startswith("I;16"):
        grey = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint32)
        return _from_array(((grey + 128) // 257).astype(np.uint8))
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return np.array(upright.convert("RGB"))  # a copy: the image's own buffer may be read-only


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
