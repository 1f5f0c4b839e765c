import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.data.label_files import (
    check_labels,
    read_label_map,
    reduce_zero_label,
    voc_colours,
    voc_colours_to_labels,
)


def write_png(path, rows, bit_depth, colour_type=0):
    """Write a PNG byte by byte: the reader under test must not check the writer of its own library."""
    bits = ["".join(format(value, f"0{bit_depth}b") for value in row) for row in rows]
    raw = b""
    for row in bits:
        row += "0" * (-len(row) % 8)
        raw += b"\0" + int(row, 2).to_bytes(len(row) // 8, "big")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", len(rows[0]), len(rows), bit_depth, colour_type, 0, 0, 0))]
    if colour_type == 3:
        chunks.append((b"PLTE", voc_colours()[: 2**bit_depth].tobytes()))
    chunks += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        data += (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("colour_type", [0, 3])
@pytest.mark.parametrize(
    ("bit_depth", "rows"),
    [
        (1, [[0, 1, 1], [1, 0, 1]]),
        (2, [[0, 1, 2, 3, 3]]),
        (4, [[0, 1, 2], [7, 14, 15]]),
        (8, [[0, 1, 85], [20, 254, 17]]),
    ],
)
def test_indices_of_every_depth_are_read_as_written_grey_or_palette(tmp_path, bit_depth, rows, colour_type):
    labels = read_label_map(write_png(tmp_path / "a.png", rows, bit_depth, colour_type))
    assert labels.dtype == np.uint16
    assert labels.tolist() == rows


@pytest.mark.parametrize("colour_type", [0, 3])
def test_255_is_void_in_8_bits(tmp_path, colour_type):
    path = write_png(tmp_path / "a.png", [[0, 254, 255]], 8, colour_type)
    assert read_label_map(path).tolist() == [[0, 254, 65535]]


def test_16_bit_labels_keep_846_and_255_and_their_void(tmp_path):
    path = write_png(tmp_path / "a.png", [[0, 255, 846, 65534, 65535]], 16)
    assert read_label_map(path).tolist() == [[0, 255, 846, 65534, 65535]]


def test_16_bit_labels_survive_a_round_trip_through_pillow(tmp_path):
    labels = np.array([[0, 846], [459, 65535]], np.uint16)
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


def refused(path, num_classes=None):
    with pytest.raises(DatasetError) as caught:
        read_label_map(path, num_classes)
    assert str(path) in str(caught.value)
    assert "expected an index PNG" in str(caught.value)
    return str(caught.value)


def test_a_voc_palette_saved_as_rgb_is_recognised_and_can_be_turned_back(tmp_path):
    labels = np.array([[0, 1, 15, 20, 255]], np.uint8)
    Image.fromarray(voc_colours()[labels]).save(tmp_path / "a.png")
    message = refused(tmp_path / "a.png")
    assert "a colour image (RGB): the class indices are lost" in message
    assert "The colours are the VOC palette's" in message
    assert "voc_colours_to_labels" in message
    mended = voc_colours_to_labels(np.array(Image.open(tmp_path / "a.png").convert("RGB")))
    np.testing.assert_array_equal(mended, labels)


def test_the_voc_palette_has_its_known_colours():
    known = {0: [0, 0, 0], 1: [128, 0, 0], 15: [192, 128, 128], 20: [0, 64, 128], 255: [224, 224, 192]}
    assert {index: voc_colours()[index].tolist() for index in known} == known


def test_a_colour_outside_the_voc_palette_is_refused_by_value():
    with pytest.raises(DatasetError, match=r"the colour \(1, 2, 3\) in 2 pixels"):
        voc_colours_to_labels(np.full((1, 2, 3), (1, 2, 3), np.uint8))


@pytest.mark.parametrize(
    ("mode", "fix"),
    [("RGB", "map each colour to its index"), ("RGBA", "map each colour"), ("LA", "Drop the transparency")],
)
def test_other_colour_images_are_refused_with_their_mode(tmp_path, mode, fix):
    Image.new("RGBA", (2, 2), (1, 2, 3, 255)).convert(mode).save(tmp_path / "a.png")
    message = refused(tmp_path / "a.png")
    assert f"a colour image ({mode})" in message
    assert fix in message


def test_grey_saved_as_rgb_is_told_from_colours(tmp_path):
    Image.fromarray(np.full((2, 2, 3), 7, np.uint8)).save(tmp_path / "a.png")
    assert "All channels are equal" in refused(tmp_path / "a.png")


def test_damaged_files_are_refused_by_name(tmp_path):
    whole = write_png(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 99, (50, 50)).tolist(), 8)
    data = whole.read_bytes()
    cases = {
        "empty.png": (b"", "an empty file (0 bytes)"),
        "head.png": (data[:20], "a PNG cut off after 20 bytes"),
        "cut.png": (data[: len(data) // 2], "a damaged or incomplete PNG"),
        "flipped.png": (data[:20] + b"\xff" + data[21:], "a damaged or incomplete PNG"),
        "text.png": (b"hello", "data that is not a PNG"),
        "photo.png": (b"\xff\xd8\xff\xe0", "a JPEG, whose compression changes labels"),
    }
    for name, (content, found) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert found in refused(tmp_path / name), name
    assert "No such file" in refused(tmp_path / "absent.png")


def test_a_image_too_large_to_decode_is_refused(tmp_path, monkeypatch):
    path = write_png(tmp_path / "a.png", [[0] * 40] * 40, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "an image too large to decode safely" in refused(path)


def test_8_bits_for_more_than_255_classes_are_refused_because_labels_wrapped(tmp_path):
    path = write_png(tmp_path / "a.png", [[0, 1]], 8)
    assert "an 8-bit file for 459 classes" in refused(path, 459)
    assert read_label_map(path, 255).tolist() == [[0, 1]]
    write_png(path, [[0, 458]], 16)
    assert read_label_map(path, 459).tolist() == [[0, 458]]


def test_m3_reduce_zero_label_keeps_void():
    labels = np.array([[0, 1, 2, 150, 255]], np.uint8)
    reduced = reduce_zero_label(labels)
    assert reduced.dtype == np.uint8
    assert reduced.tolist() == [[255, 0, 1, 149, 255]]
    assert labels.tolist() == [[0, 1, 2, 150, 255]]


def test_m3_reduce_zero_label_does_the_same_in_16_bits():
    labels = np.array([[0, 1, 2, 255, 847, 65535]], np.uint16)
    assert reduce_zero_label(labels).tolist() == [[65535, 0, 1, 254, 846, 65535]]


@pytest.mark.parametrize(
    ("labels", "found", "fix"),
    [
        ([1, 150, 150], "2 pixels with label 150", "reduce_zero=True"),
        ([0, 254], "1 pixels with label 254", "254 is what subtracting one makes of void"),
        ([160, 161, 162, 163, 164, 165], "6 pixels with label 160, 161, 162, 163, 164, …", "every class"),
    ],
)
def test_labels_out_of_range_are_named_with_the_likely_cause(labels, found, fix):
    with pytest.raises(DatasetError) as caught:
        check_labels(np.array([labels], np.uint16), 150, "x/a.png")
    assert "reading the label file x/a.png" in str(caught.value)
    assert found in str(caught.value)
    assert "expected 0 to 149 for 150 classes" in str(caught.value)
    assert fix in caught.value.fix


def test_labels_in_range_and_void_pass():
    check_labels(np.array([[0, 149, 65535]], np.uint16), 150, "a.png")
