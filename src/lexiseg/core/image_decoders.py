"""The one place that opens image files: with listed decoders, within a size that is known before, within a time.

Pillow looks into a file for what it is, whatever its name says, and some of its readers start another program
(PostScript goes to Ghostscript). Only decoders that are listed here are asked.
"""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, UnidentifiedImageError

from lexiseg.core.errors import LexisegError
from lexiseg.core.time_limit import Result, within_time

#: Readers of Pillow that may see a file: none of them starts a program or reads another file.
DECODERS = (
    "JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA", "QOI", "WEBP", "AVIF", "JPEG2000",
)  # fmt: skip
#: Longer than any real image of a size that is allowed takes; then the decoder hangs.
DECODING_SECONDS = 120.0
#: Deflate makes at most so many bytes of one.
_MOST_BYTES_OF_ONE = 1032
_BITS_BELOW_A_BYTE = {";1": 1, ";2": 2, ";4": 4}


class DamagedImageError(ValueError):
    """A decoder has met damaged data; never leaves this room."""


class LargeImageError(DamagedImageError):
    """An image says that it has more pixels than are decoded safely, or fit into memory."""


def decode(
    source: Any,
    use: Callable[[Image.Image], Result],
    decoders: Sequence[str] = DECODERS,
) -> Result:
    """Open an image with the listed decoders and do something with it, all within ``DECODING_SECONDS``.

    Args:
        source: Path of the file, or a file or ``io.BytesIO`` open to be read.
        use: Gets the open image, of which only the header is read; it is closed afterwards.
        decoders: Formats that may be there, by Pillow's names.

    Returns:
        What ``use`` returned.

    Raises:
        OSError: The file cannot be read; ``PIL.UnidentifiedImageError``, which is one, where no listed decoder knows it.
        LargeImageError: It has too many pixels.
        DamagedImageError: Whatever else damaged data made a decoder raise.
    """

    def opened() -> Result:
        with open_image(source, decoders) as image:
            return use(image)

    try:
        return within_time(opened, DECODING_SECONDS)
    except (LexisegError, Warning, OSError):  # a warning is raised only where the person made it an error
        raise
    except Image.DecompressionBombError as error:
        raise LargeImageError(str(error)) from error
    except MemoryError as error:
        raise LargeImageError("more pixels than fit into memory") from error
    except Exception as error:  # damaged data makes decoders raise anything
        raise DamagedImageError(str(error) or type(error).__name__) from error


def open_image(source: Any, decoders: Sequence[str] = DECODERS) -> Image.Image:
    """Open an image with the listed decoders; only its header is read.

    Args:
        source: Path of the file, or a file or ``io.BytesIO`` open to be read.
        decoders: Formats that may be there, by Pillow's names.

    Raises:
        PIL.UnidentifiedImageError: None of these decoders knows the data.
        PIL.Image.DecompressionBombError: The header says more pixels than are decoded safely.
        ValueError: The header of a PNG says more pixels than its bytes can hold.
        OSError: The file cannot be read.
    """
    Image.init()
    known = [name for name in decoders if name in Image.OPEN]  # Pillow may be built without some
    if not known:
        raise UnidentifiedImageError(f"no decoder for {', '.join(decoders)} in this build of Pillow")
    image = Image.open(source, formats=known)
    try:
        _refuse_lying_size(image)
    except BaseException:
        image.close()
        raise
    return image


def _refuse_lying_size(image: Image.Image) -> None:
    """Raise where a PNG's bytes, however well compressed, cannot be the pixels that its header says."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None or not getattr(image, "tile", None):
        return
    place = file.tell()
    num_bytes = file.seek(0, 2)
    file.seek(place)
    raw_mode = str(image.tile[0].args)  # type: ignore[attr-defined]
    bits = next((few for mark, few in _BITS_BELOW_A_BYTE.items() if raw_mode.endswith(mark)), 0)
    bits = bits or (1 if image.mode == "1" else 8 * len(image.getbands()))
    if image.height * (image.width * bits // 8) > num_bytes * _MOST_BYTES_OF_ONE:
        size = f"{image.width}×{image.height}"
        raise ValueError(f"{num_bytes:,} bytes cannot hold the {size} pixels of the header")
