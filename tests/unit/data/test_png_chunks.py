"""No label file with a flipped bit is believed, wherever the bit is."""

import io

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.data.label_files import read_label_map
from lexiseg.data.png_chunks import damage_of_png


def label_png(mode: str) -> bytes:
    labels = (
        np.random.default_rng(0).integers(0, 20, (12, 12)).astype(np.uint16 if mode == "I;16" else np.uint8)
    )
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette([value for colour in range(256) for value in (colour, 255 - colour, 7)])
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize("mode", ["P", "L", "I;16"])
def test_every_flipped_bit_and_every_cut_is_seen(mode):
    whole = label_png(mode)
    assert damage_of_png(whole) == ""
    for bit in range(0, 8 * len(whole), 5):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert damage_of_png(bytes(damaged)), f"bit {bit}"
    assert all(damage_of_png(whole[:size]) for size in range(0, len(whole), 7))


def test_the_message_names_the_chunk(tmp_path):
    data = bytearray(label_png("P"))
    data[data.index(b"PLTE") + 40] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetError, match="a wrong checksum in the chunk PLTE"):
        read_label_map(tmp_path / "a.png")


def test_what_follows_the_end_is_nobodys_business(tmp_path):
    (tmp_path / "a.png").write_bytes(label_png("L") + b"left by a program")
    assert read_label_map(tmp_path / "a.png").shape == (12, 12)
