"""16-bit images that use a part of their range: said, and read right with a range."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import ImageError, InputError
from lexiseg.data.folder import FolderDataset
from lexiseg.data.images import ImageWarning, ValueRange, load_image

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def write(path, highest, dtype=np.uint16):
    Image.fromarray((RAMP * highest).astype(dtype)).save(path)
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_part_of_16_bits_is_said_and_read_right_with_its_range(tmp_path, bits, suffix):
    path = write(tmp_path / f"a{suffix}", (1 << bits) - 1)
    with pytest.warns(ImageWarning, match=rf"--value-range 0..{(1 << bits) - 1} \({bits} bits\)"):
        load_image(path)
    for text in (f"0..{(1 << bits) - 1}", "percentile"):
        image = load_image(path, ValueRange.parse(text))
        assert (image.min(), image.max()) == (0, 255)
        assert (np.abs(image[..., 0] - 255 * RAMP) <= (1 if text != "percentile" else 8)).all()


def test_all_of_16_bits_is_read_as_before(tmp_path, recwarn):
    image = load_image(write(tmp_path / "a.png", 65535))
    assert (image[..., 0] == ((RAMP * 65535).astype(np.uint16).astype(int) + 128) // 257).all()
    assert not recwarn


@pytest.mark.parametrize(("dtype", "suffix"), [(np.float32, ".tif"), (np.int32, ".tif")])
def test_32_bits_need_a_range(tmp_path, dtype, suffix):
    path = write(tmp_path / f"a{suffix}", 1000, dtype)
    with pytest.raises(ImageError, match="State them with --value-range"):
        load_image(path)
    assert load_image(path, ValueRange.parse("0..1000")).max() == 255


def rgb_16_bit_png(highest):
    pixels = np.repeat((RAMP * highest).astype(">u2")[..., None], 3, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + end


def test_16_bit_colour_is_said_too_and_takes_no_range(tmp_path, recwarn):
    path = tmp_path / "a.png"
    path.write_bytes(rgb_16_bit_png(4095))
    with pytest.warns(ImageWarning, match="16-bit image without a value above"):
        load_image(path)
    with pytest.raises(ImageError, match="16-bit colour with a value range"):
        load_image(path, ValueRange.parse("0..4095"))
    path.write_bytes(rgb_16_bit_png(65535))
    recwarn.clear()
    load_image(path)
    assert not recwarn


@pytest.mark.parametrize("text", ["", "0", "5..5", "9..1", "a..b", "0..inf", "nan..1", "percentiles"])
def test_other_ranges_are_refused(text):
    with pytest.raises(InputError, match=r"LOW\.\.HIGH with LOW below HIGH, or percentile"):
        ValueRange.parse(text)


def test_a_folder_is_read_with_its_range_and_remembers_it(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").write_text("cat\n")
    write(tmp_path / "images" / "a.png", 4095)
    ranged = FolderDataset(tmp_path, value_range="0..4095")
    assert ranged[0].image.max() == 255
    assert ranged.opened_with()["value_range"] == "0..4095"
    plain = FolderDataset(tmp_path)
    assert "value_range" not in plain.opened_with()
    assert plain.fingerprint() != ranged.fingerprint()


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageError, match="found no pixels"):
        load_image(Image.new("RGB", (0, 5)))


def test_the_previews_of_an_mpo_file_are_no_frames(tmp_path, recwarn):
    held = io.BytesIO()
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (4, 4), "blue")
    first.save(held, "MPO", save_all=True, append_images=[second])
    (tmp_path / "a.jpg").write_bytes(held.getvalue())
    assert load_image(tmp_path / "a.jpg")[0, 0, 0] > 200
    assert not recwarn
