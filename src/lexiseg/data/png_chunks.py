"""Whether a PNG is whole, by the checksums it carries.

Decoders do not look at the checksums of the pixels (Pillow) or of what they can do without (libpng), so a flipped
bit gives other labels and nobody is told. PNG specification, third edition, section 5: every chunk is a length, a
type, data, and a CRC-32 of type and data.
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.time_limit import Result

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 13


def decode_whole_png(path: Path, use: Callable[[Image.Image], Result]) -> Result:
    """Open a PNG of which every checksum is right, and do something with it, as ``core.image_decoders.decode`` does.

    Raises:
        OSError: The file cannot be read.
        DamagedImageError: A checksum is wrong, or the decoder has met damaged data.
    """
    data = path.read_bytes()
    if damage := damage_of_png(data):
        raise DamagedImageError(damage)
    return decode(io.BytesIO(data), use, ("PNG",))


def damage_of_png(data: bytes) -> str:
    """Say what is damaged in a PNG; empty where every chunk is as its writer left it.

    Args:
        data: The whole file.
    """
    if not data.startswith(SIGNATURE):
        return "no PNG signature"
    place = len(SIGNATURE)
    number = 0
    while True:
        if place + 12 > len(data):
            return f"cut off after {len(data):,} bytes"
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        end = place + 8 + length
        if end + 4 > len(data):
            return f"cut off after {len(data):,} bytes, or damaged, in the chunk {_name(kind)}"
        if zlib.crc32(memoryview(data)[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"a wrong checksum in the chunk {_name(kind)} at byte {place:,}"
        if number == 0 and (kind != b"IHDR" or length != _HEADER_BYTES):
            return f"the chunk {_name(kind)} where the header belongs"
        if kind == b"IEND":
            return ""
        place, number = end + 4, number + 1


def _name(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalpha() else repr(kind)
