"""Images come from anywhere: only listed decoders, sizes known before, an end to waiting."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from lexiseg.core.errors import DatasetError, ImageError
from lexiseg.core.image_decoders import DECODERS, open_image
from lexiseg.core.time_limit import within_time
from lexiseg.data import images
from lexiseg.data.captions.decoding import UnreadableImageError, decode_crop, decode_image, probe_image
from lexiseg.data.images import IMAGE_SUFFIXES, exif_orientation, load_image
from lexiseg.data.label_files import read_label_map
from lexiseg.data.published.label_encodings import read_values
from lexiseg.data.scenes.cutouts import _read as read_emoji
from lexiseg.methods.rim.references.cutouts import read_cutout
from lexiseg.methods.rim.references.own_folder import _has_mask_channel

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def png(width: int, height: int, *, body: bytes = b"", depth: int = 8, kind: int = 0) -> bytes:
    """Write a PNG whose header says what it wants."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def path_readers(path: Path) -> dict[str, object]:
    """Return what opens an image, by name; each is called with the path or its content."""
    data = path.read_bytes()
    return {
        "image": lambda: load_image(path),
        "label": lambda: read_label_map(path),
        "red and green": lambda: read_values(path, "red-green", 10, "a"),
        "cut-out": lambda: read_cutout(path),
        "emoji": lambda: read_emoji(path, 8),
        "caption image": lambda: decode_image(data),
        "caption crop": lambda: decode_crop(data, lambda height, width: (0, 0, height, width), 8),
        "caption probe": lambda: probe_image(data),
    }


@pytest.mark.parametrize("reader", path_readers(Path(__file__)))
@pytest.mark.parametrize(
    "data", [POSTSCRIPT, png(16_000, 10_000), png(60_000, 60_000)], ids=["ps", "lying", "bomb"]
)
def test_no_reader_asks_other_decoders_or_believes_a_size_that_cannot_be(tmp_path, monkeypatch, reader, data):
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr("subprocess.check_call", started)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises((ImageError, DatasetError, UnreadableImageError)):
        path_readers(path)[reader]()


def test_what_only_looks_at_a_file_says_that_it_knows_nothing(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(POSTSCRIPT)
    assert exif_orientation(path) == 1
    assert not _has_mask_channel(path)


def test_every_suffix_that_is_read_has_its_decoder():
    Image.init()
    formats = {
        Image.registered_extensions()[suffix] for suffix in IMAGE_SUFFIXES if suffix in Image.EXTENSION
    }
    assert formats <= set(DECODERS)


@pytest.mark.parametrize("name", DECODERS)
def test_every_listed_decoder_reads_its_own_files(name):
    if name not in Image.SAVE or (name.lower() in ("avif", "webp") and not features.check(name.lower())):
        pytest.skip(f"Pillow cannot write {name}")
    held = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(held, name)
    with open_image(io.BytesIO(held.getvalue())) as image:
        assert image.size == (9, 9)


@pytest.mark.parametrize("mode", ["1", "P", "I;16", "RGBA"])
def test_the_emptiest_real_png_is_not_taken_for_a_lie(mode):
    held = io.BytesIO()
    Image.new(mode, (1600, 1200)).save(held, "PNG", compress_level=9)
    with open_image(io.BytesIO(held.getvalue())) as image:
        assert image.size == (1600, 1200)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16", "L"])
def test_bands_give_what_the_whole_gives(tmp_path, monkeypatch, mode):
    noise = np.random.default_rng(0).integers(0, 255, (37, 53, 4)).astype(np.uint8)
    grey = noise[..., :2].copy().view(np.uint16)[..., 0] | 1 << 15
    (Image.fromarray(grey) if mode == "I;16" else Image.fromarray(noise).convert(mode)).save(
        tmp_path / "a.png"
    )
    whole = load_image(tmp_path / "a.png")
    monkeypatch.setattr(images, "_PIXELS_AT_ONCE", 200)
    assert np.array_equal(load_image(tmp_path / "a.png"), whole)


def test_waiting_has_an_end_and_errors_come_through():
    with pytest.raises(TimeoutError, match=r"no end after 0\.05 s"):
        within_time(lambda: time.sleep(5), 0.05)
    assert within_time(lambda: 3, 1.0) == 3
    with pytest.raises(KeyError):
        within_time(lambda: {}["x"], 1.0)
