import io

import numpy as np
import pytest
from PIL import Image

from caption_files import image_bytes
from lexiseg.data.captions.decoding import UnreadableImageError, decode_crop, decode_image, probe_image
from lexiseg.data.captions.records import InvalidReason


def smooth(height: int, width: int, orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    return image_bytes(3, height, width, quality=95, exif=exif)


@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_a_jpeg_that_is_decoded_small_gives_nearly_the_same_crop(orientation: int | None) -> None:
    data = smooth(1200, 1600, orientation)
    asked: list[tuple[int, int]] = []

    def draw(height: int, width: int) -> tuple[int, int, int, int]:
        asked.append((height, width))
        return height // 5, width // 4, height // 2, width // 2

    found = decode_crop(data, draw, 64)
    whole = decode_image(data)
    height, width = whole.shape[:2]
    assert asked == [(height, width)]
    part = whole[height // 5 : height // 5 + height // 2, width // 4 : width // 4 + width // 2]
    expected = np.asarray(Image.fromarray(part).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).mean() < 1.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_every_kind_of_image_is_decoded(kind: str) -> None:
    assert decode_image(image_bytes(0, kind=kind)).shape == (24, 30, 3)
    assert probe_image(image_bytes(0, kind=kind)) == (24, 30)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", InvalidReason.IMAGE),
        (b"rot", InvalidReason.IMAGE),
        (image_bytes(0, 200, 200)[:-300], InvalidReason.IMAGE),
        (image_bytes(0, 200, 200, kind="PNG")[:-300], InvalidReason.IMAGE),
        (image_bytes(0, 4, 30), InvalidReason.SIZE),
        (image_bytes(0, 10, 300), InvalidReason.SIZE),
    ],
)
def test_rot_is_found_by_every_way_of_decoding(data: bytes, reason: InvalidReason) -> None:
    for decode in (
        decode_image,
        probe_image,
        lambda data: decode_crop(data, lambda h, w: (0, 0, h, w), 16),
    ):
        with pytest.raises(UnreadableImageError) as caught:
            decode(data)
        assert caught.value.reason is reason
        assert "BytesIO" not in caught.value.detail


@pytest.mark.exhaustive
def test_a_image_made_to_exhaust_memory_is_not_decoded() -> None:
    target = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(target, "PNG")
    with pytest.raises(UnreadableImageError) as caught:
        probe_image(target.getvalue())
    assert caught.value.reason is InvalidReason.SIZE
