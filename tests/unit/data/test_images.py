"""Every kind of image people have, and what is said when one cannot be used."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lexiseg.core.errors import ImageError
from lexiseg.data.images import load_image

RAMP = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["str", "path", "pil", "array", "uint8 tensor", "float tensor"])
def test_every_kind_of_source_gives_the_same_pixels(tmp_path, kind):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    channels_first = torch.from_numpy(RAMP).permute(2, 0, 1)
    source = {
        "str": str(path),
        "path": path,
        "pil": Image.fromarray(RAMP),
        "array": RAMP,
        "uint8 tensor": channels_first,
        "float tensor": channels_first.float() / 255,
    }[kind]
    np.testing.assert_array_equal(load_image(source), RAMP)


def test_one_pixel_is_a_image(tmp_path):
    assert load_image(saved(tmp_path / "a.png", Image.new("RGB", (1, 1), (9, 8, 7)))).tolist() == [
        [[9, 8, 7]]
    ]


def test_grey_becomes_three_equal_channels(tmp_path):
    image = load_image(saved(tmp_path / "a.png", Image.fromarray(RAMP[..., 0])))
    assert (image == RAMP[..., :1]).all()
    assert image.shape == (12, 10, 3)


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    values = np.array([[0, 257, 257 * 128, 65535]], np.uint16)
    image = load_image(saved(tmp_path / "a.png", Image.fromarray(values)))
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_is_converted(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK"), quality=95)
    red, green, blue = load_image(path)[8, 8]
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(tmp_path, mode):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    options = {"transparency": 0} if mode == "P" else {}
    image = load_image(saved(tmp_path / "a.png", clear.convert(mode), **options))
    assert (image == 255).all()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :8] = 255  # left half white becomes the upper half
    upright = load_image(saved(tmp_path / "a.png", Image.fromarray(image), exif=exif))
    assert upright.shape == (16, 8, 3)
    assert upright[:8].min() == 255
    assert upright[8:].max() == 0


def test_first_frame_of_an_animation_is_taken_with_a_warning(tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="2 frames; only the first"):
        assert load_image(path)[0, 0].tolist() == [255, 0, 0]


def bomb(path: Path) -> Path:
    """Write a PNG whose header says 30,000 × 30,000 and that holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def truncated(path: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:1500])
    return path


def zero_bytes(path: Path) -> Path:
    path.touch()
    return path


def no_image(path: Path) -> Path:
    path.write_text("not an image")
    return path


def unread_tiff(path: Path, magic: bytes) -> Path:
    path.write_bytes(magic + bytes(60))
    return path


def float_image(path: Path) -> Path:
    path = path.with_suffix(".tif")
    return saved(path, Image.fromarray(np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize(
    ("make", "found", "fix"),
    [
        (bomb, "900000000 pixels", "Cut or shrink it first"),
        (truncated, "damaged or incomplete", "Copy it again"),
        (zero_bytes, "an empty file (0 bytes)", "Copy it again"),
        (no_image, "no image decoder recognises", "save it again as PNG"),
        (lambda path: unread_tiff(path, b"II*\0"), "perhaps of many bands", "--bands 1,2,3"),
        (lambda path: unread_tiff(path, b"MM\0*"), "perhaps of many bands", "--bands 1,2,3"),
        (lambda path: unread_tiff(path, b"II+\0"), "perhaps of many bands", "--bands 1,2,3"),
        (float_image, "32-bit pixels (mode F)", "scale it to 8 bits"),
        (lambda path: path, "no file there", "Check the path"),
        (lambda path: "x" * 300, "no file there", "Check the path"),
        (lambda path: "a\0b.jpg", "no file there", "Check the path"),
        (lambda path: path.parent, "a folder", "Check the path"),
        (lambda path: "https://example.org/cat.jpg", "an address", "Download it first"),
    ],
    ids=[
        "bomb",
        "truncated",
        "zero bytes",
        "no image",
        "TIFF",
        "TIFF, big endian",
        "BigTIFF",
        "float",
        "missing",
        "long",
        "null",
        "folder",
        "address",
    ],
)
def test_bad_file_is_named_with_what_to_do(tmp_path, make, found, fix):
    source = make(tmp_path / "holiday.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            load_image(source)
    message = str(caught.value)
    assert message.startswith(f"reading {source}: found ")
    assert found in message
    assert fix in message


@pytest.mark.parametrize(
    ("source", "found", "hint"),
    [
        (np.zeros((4, 5, 3), np.float32), "float32 of shape (4, 5, 3)", "astype"),
        (np.zeros((3, 4, 5), np.uint8), "(3, 4, 5)", "transpose(1, 2, 0)"),
        (np.zeros((4, 5, 4), np.uint8), "(4, 5, 4)", "drop the last"),
        (np.zeros((2, 4, 5, 3), np.uint8), "(2, 4, 5, 3)", "list of images"),
        (np.zeros((0, 5, 3), np.uint8), "(0, 5, 3)", ""),
        (torch.full((3, 4, 4), 2.0), "values from 2 to 2", "Undo any mean"),
        (torch.zeros(1, 3, 4, 4), "(1, 3, 4, 4)", "list of images"),
    ],
)
def test_bad_array_says_what_shape_is_wanted(source, found, hint):
    with pytest.raises(ImageError) as caught:
        load_image(source)
    assert found in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "error", [TypeError, KeyError, RecursionError, MemoryError, struct.error, IndexError]
)
def test_whatever_a_decoder_raises_is_an_image_error(tmp_path, monkeypatch, error):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: (_ for _ in ()).throw(error("deep inside")))
    for source in (path, Image.fromarray(RAMP)):
        with pytest.raises(ImageError, match=r"^reading .*: found .*(damaged|memory)"):
            load_image(source)


def pages_cut_short(path: Path) -> Path:
    pages = [Image.fromarray(np.roll(RAMP, page)) for page in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_pages_cut_short_are_a_damaged_image(tmp_path):
    with pytest.raises(ImageError, match="damaged or incomplete"):
        load_image(pages_cut_short(tmp_path / "a.tif"))


def test_pil_images_that_fail_late_say_so(tmp_path):
    data = truncated(tmp_path / "a.jpg").read_bytes()
    closed = Image.open(saved(tmp_path / "b.png", Image.fromarray(RAMP)))
    closed.close()
    for late in (Image.open(io.BytesIO(data)), closed):
        with pytest.raises(ImageError) as caught:
            load_image(late)
        assert f"reading the RGB image of {late.width}×{late.height}: found a damaged" in str(caught.value)
        assert "leave its file open" in str(caught.value)


def test_warning_that_was_made_an_error_stays_one(tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="2 frames"):
            load_image(tmp_path / "a.gif")


@pytest.mark.parametrize("kind", ["array", "read-only array", "grey", "tensor", "channels-last tensor"])
def test_result_shares_no_memory_with_the_source_and_can_be_written(kind):
    source = RAMP.copy() if kind != "grey" else RAMP[..., 0].copy()
    given = source
    if kind == "read-only array":
        source.flags.writeable = False
    if "tensor" in kind:
        given = torch.from_numpy(source).permute(2, 0, 1)
        given = given if kind.startswith("channels") else given.contiguous()
        source = given.numpy()
    image = load_image(given)
    assert not np.shares_memory(image, source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(image)
