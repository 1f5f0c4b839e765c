"""Image and label files that were damaged: pixels, or an error of ours; a label file that changed is never believed."""

import io

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import ImageError
from lexiseg.data.captions.decoding import UnreadableImageError, decode_crop, probe_image
from lexiseg.data.images import load_image
from lexiseg.data.label_files import read_label_map
from lexiseg.data.published.label_encodings import read_values
from mutations import fuzz

pytestmark = pytest.mark.usefixtures("without_type_checker")

LABELS = np.random.default_rng(0).integers(0, 20, (24, 16)).astype(np.uint8)


def written(kind: str, mode: str = "RGB", **more: object) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 16, 4)).astype(np.uint8)).convert(
        mode
    ).save(held, kind, **more)
    return held.getvalue()


IMAGES = [
    written("JPEG"), written("PNG", "RGBA"), written("PNG", "P"), written("GIF", "P"), written("BMP"), written("TGA"),
    written("TIFF", compression="tiff_lzw"), written("TIFF", "L"), written("WEBP"), written("PPM"),
]  # fmt: skip


def label_png(mode: str) -> bytes:
    image = Image.fromarray(LABELS.astype(np.uint16) if mode == "I;16" else LABELS)
    if mode == "P":
        image.putpalette([value % 256 for value in range(768)])
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def test_images(tmp_path):
    path = tmp_path / "photo.jpg"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        pixels = load_image(path)
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3

    assert fuzz("images", IMAGES, read, examples=60)


def test_images_of_captions():
    def read(data: bytes) -> None:
        try:
            probe_image(data)
            assert decode_crop(data, lambda height, width: (0, 0, height, width), 8).shape == (8, 8, 3)
        except UnreadableImageError as error:
            raise ImageError(doing="reading", found=error.detail, expected="an image", fix="None.") from error

    assert fuzz("caption_images", IMAGES, read, examples=60)


def test_label_files_are_as_they_were_written_or_refused(tmp_path):
    path = tmp_path / "a.png"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        assert np.array_equal(read_label_map(path), LABELS), "other labels were believed"

    assert fuzz("labels", [label_png("P"), label_png("L"), label_png("I;16")], read, examples=150)


def test_label_files_of_other_encodings(tmp_path):
    names = {"a.tif": "index", "b.png": "red-green", "c.png": "ade-colours"}
    seeds = [f"{name}\n".encode() + data for name in names for data in (written("TIFF", "L"), written("PNG"))]

    def read(data: bytes) -> None:
        name, _, content = data.partition(b"\n")
        file = names.keys() & {name.decode("latin-1")}
        path = tmp_path / (file.pop() if file else "a.tif")
        path.write_bytes(content)
        assert read_values(path, names[path.name], 100, "a").dtype == np.uint16

    assert fuzz("label_encodings", seeds, read, examples=40)
