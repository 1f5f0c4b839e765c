"""Images from bytes, whole or as small as a crop allows; captions from bytes, plain text or JSON, one or several."""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from lexiseg.core.errors import ImageError, InputError
from lexiseg.core.image_decoders import DECODING_SECONDS, open_image
from lexiseg.core.json_text import decode_json
from lexiseg.core.time_limit import Result, within_time
from lexiseg.data.augmentation.random_crop import resize_crop
from lexiseg.data.captions.records import CAPTION_NAMES, InvalidReason
from lexiseg.data.images import load_image

#: Larger images are refused before they are decoded.
MAX_PIXELS = 100_000_000
#: A side below this is a tracking pixel, not an image.
MIN_SIDE = 8
#: Long side over short side; more is a rule or a border.
MAX_ASPECT = 20

#: From height and width of the upright image to ``(top, left, height, width)``.
DrawBox = Callable[[int, int], tuple[int, int, int, int]]

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # values of the EXIF orientation that swap the sides


class UnreadableImageError(Exception):
    """An image cannot be used; never leaves this room.

    Attributes:
        reason: Why.
        detail: Why exactly.
    """

    def __init__(self, reason: InvalidReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def decode_image(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image whole and upright, RGB 0..255.

    Raises:
        UnreadableImageError: It cannot be decoded or has an absurd size.
    """
    return _within_time(lambda: _decode_whole(data))


def _within_time(action: Callable[[], Result]) -> Result:
    try:
        return within_time(action, DECODING_SECONDS)
    except TimeoutError as error:
        raise UnreadableImageError(InvalidReason.IMAGE, str(error)) from error


def _decode_whole(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    with _opened(data) as image:
        return load_image(image)


def decode_crop(data: bytes, draw: DrawBox, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Decode an image, cut a box out of it and resize that to ``size`` × ``size``.

    A JPEG is decoded at a half, a quarter or an eighth where the box then still has ``size`` pixels a
    side: four times less work for an image of twice the size.

    Raises:
        UnreadableImageError: It cannot be decoded or has an absurd size.
    """
    return _within_time(lambda: _decode_box(data, draw, size))


def _decode_box(data: bytes, draw: DrawBox, size: int) -> UInt8[np.ndarray, "S S 3"]:
    with _opened(data) as image:
        width, height = image.size
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation in _TURNED:
            width, height = height, width
        box = draw(height, width)
        fold = min(8, 1 << int(math.log2(max(1.0, min(box[2:]) / size))))
        if fold > 1 and image.format == "JPEG":
            image.draft(None, (image.width // fold, image.height // fold))
        plain = image.format == "JPEG" and image.mode == "RGB" and orientation == 1
        pixels = np.array(image) if plain else load_image(image)  # the same for plain ones, which are most
    if pixels.shape[:2] != (height, width):
        box = _scaled(box, pixels.shape[0] / height, pixels.shape[1] / width)
    return resize_crop(pixels, box, size)


def probe_image(data: bytes) -> tuple[int, int]:
    """Decode an image far enough to know that it is whole; give height and width as stored.

    A JPEG is read to its end but only an eighth of it is computed.

    Raises:
        UnreadableImageError: It cannot be decoded or has an absurd size.
    """
    return _within_time(lambda: _probe(data))


def _probe(data: bytes) -> tuple[int, int]:
    with _opened(data) as image:
        width, height = image.size
        if image.format == "JPEG":
            image.draft(None, (max(1, width // 8), max(1, height // 8)))
            image.load()
        else:
            load_image(image)
        return height, width


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image and check its size; turn whatever a decoder raises into a UnreadableImageError."""
    if not data:
        raise UnreadableImageError(InvalidReason.IMAGE, "an empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of animations the first frame is meant; damaged EXIF is no matter
            with open_image(io.BytesIO(data)) as image:
                _refuse_absurd(image.size)
                yield image
    except UnreadableImageError:
        raise
    except ImageError as error:
        raise UnreadableImageError(InvalidReason.IMAGE, error.found) from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError(InvalidReason.IMAGE, "data that no image decoder recognises") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(InvalidReason.SIZE, str(error)) from error
    except Exception as error:  # damaged data makes decoders raise anything
        raise UnreadableImageError(InvalidReason.IMAGE, str(error) or type(error).__name__) from error


def _refuse_absurd(size: tuple[int, int]) -> None:
    width, height = size
    short, long = sorted(size)
    if short < MIN_SIDE or long > MAX_ASPECT * short or width * height > MAX_PIXELS:
        raise UnreadableImageError(InvalidReason.SIZE, f"{height} × {width} pixels")


def _scaled(box: tuple[int, int, int, int], vertical: float, horizontal: float) -> tuple[int, int, int, int]:
    top, left = int(box[0] * vertical), int(box[1] * horizontal)
    bottom, right = math.ceil((box[0] + box[2]) * vertical), math.ceil((box[1] + box[3]) * horizontal)
    return top, left, bottom - top, right - left


#: A caption of more characters is a page, not a caption.
MAX_CHARACTERS = 10_000
#: A file beside an image that is larger holds something else than a caption.
MAX_CAPTION_BYTES = 16 << 20


class CaptionError(Exception):
    """A caption cannot be used; never leaves this room.

    Attributes:
        reason: Why.
        detail: Why exactly, or empty.
    """

    def __init__(self, reason: InvalidReason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def parse_text(data: bytes) -> tuple[str, ...]:
    """Read a text as one caption.

    Raises:
        CaptionError: It is not UTF-8, empty or too long.
    """
    return clean_captions(_decode(data))


def parse_json(data: bytes, key: str | None = None) -> tuple[str, ...]:
    """Read captions from a JSON object: a string or a list of strings.

    Args:
        data: Content of the file.
        key: Where the captions are; None looks for a usual name.

    Raises:
        CaptionError: It is not UTF-8, not a JSON object, or holds no caption.
    """
    try:
        content = decode_json(_decode(data))
    except ValueError as error:
        raise CaptionError(InvalidReason.BAD_JSON, str(error)) from error
    if not isinstance(content, dict):
        raise CaptionError(InvalidReason.BAD_JSON, f"a {type(content).__name__} instead of an object")
    keys = (key,) if key else CAPTION_NAMES
    found = next((name for name in keys if name in content), None)
    if found is None:
        raise CaptionError(InvalidReason.NO_CAPTION, f"no {' or '.join(keys[:3])} in the JSON")
    return clean_captions(content[found])


def clean_captions(value: Any) -> tuple[str, ...]:
    """Make a string or a list of strings captions: white space single, empty ones left out.

    Raises:
        CaptionError: None is left, one is too long, or holds what is no character: JSON can write half of a pair.
    """
    texts = value if isinstance(value, list | tuple) else [value]
    if any(text is not None and not isinstance(text, str) for text in texts):
        raise CaptionError(InvalidReason.NO_CAPTION, "a caption that is not text")
    captions = tuple(" ".join(text.split()) for text in texts if text and text.strip())
    if not captions:
        raise CaptionError(
            InvalidReason.EMPTY_CAPTION
            if any(text is not None for text in texts)
            else InvalidReason.NO_CAPTION
        )
    for caption in captions:
        try:
            caption.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(caption[error.start]):04x} at character {error.start}, which is no character"
            raise CaptionError(InvalidReason.NOT_UTF8, half) from error
    longest = max(map(len, captions))
    if longest > MAX_CHARACTERS:
        raise CaptionError(InvalidReason.LONG_CAPTION, f"{longest:,} characters")
    return captions


def refuse_empty(num_records: int, num_broken: int, path: str) -> None:
    """Raise where there is no record at all."""
    if not num_records:
        broken = f", and {num_broken:,} broken ones" if num_broken else ""
        raise InputError(
            doing=f"opening the captions in {path}",
            found=f"no image with a caption{broken}",
            expected="images and captions under one name: 000.jpg with 000.txt or 000.json in tar files or a folder, "
            "two columns in Parquet, metadata.csv or metadata.jsonl, images/ with captions.tsv, COCO's captions",
            fix=f"Look at it with: lexiseg captions check {path}",
        )


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionError(InvalidReason.NOT_UTF8, f"byte {error.start}") from error
