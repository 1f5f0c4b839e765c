"""A person's masks are used whatever image file they are, or refused; a bank tells which were found instead."""

import numpy as np
import pytest
from PIL import Image

from lexiseg.cli import main
from lexiseg.core.errors import DatasetError
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.methods.rim.references.build_class import BuildSettings
from lexiseg.methods.rim.references.own_folder import FolderSource
from rim_toys import ColourEncoder

SIDE = 32
OBJECT = np.zeros((SIDE, SIDE), bool)
OBJECT[5:21, 6:23] = True  # across the blocks of JPEG


def heuristic(image):
    found = np.zeros(image.shape[:2], bool)
    found[:4] = True
    return found


@pytest.fixture
def own(tmp_path):
    (tmp_path / "cat" / "masks").mkdir(parents=True)
    Image.new("RGB", (SIDE, SIDE), "red").save(tmp_path / "cat" / "a.jpg")

    def source(suffix=None, white=255, name="a"):
        if suffix:
            mask = Image.fromarray((OBJECT * white).astype(np.uint8))
            mask.save(tmp_path / "cat" / "masks" / f"{name}{suffix}")
        return FolderSource(tmp_path, heuristic, found_by="a heuristic")

    return source


def drawn(source):
    (only,) = source.draw("cat", 1)
    return only


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg", ".bmp", ".tif", ".webp", ".gif", ".jp2"])
def test_masks_of_any_image_file_are_used(own, suffix):
    only = drawn(own(suffix))
    assert only.mask_is_given
    assert (only.mask == OBJECT).all()


def test_a_jpeg_mask_is_cut_at_half_and_said(own):
    source = own(".jpg")
    assert (drawn(source).mask == OBJECT).all()
    assert "1 masks are JPEG files or the like (cat/masks/a.jpg, …)" in source.notes()[0]


def test_a_jpeg_of_index_values_is_rejected(own):
    only = drawn(own(".jpg", white=1))
    assert only.is_damaged
    assert only.reason.startswith("a .jpg file whose brightest pixel is ")


def test_png_of_index_values_is_used_and_comes_before_others(own):
    own(".bmp", white=0)
    assert (drawn(own(".png", white=1)).mask == OBJECT).all()


def test_two_masks_of_one_image_are_refused(own):
    own(".bmp")
    with pytest.raises(DatasetError, match=r"found 2 of its stem: a\.bmp, a\.tif"):
        drawn(own(".tif"))


def test_a_damaged_mask_is_named(own, tmp_path):
    (tmp_path / "cat" / "masks" / "a.png").write_bytes(b"nothing")
    only = drawn(own())
    assert only.is_damaged
    assert only.reason.startswith("a damaged or unknown file")


def test_masks_without_an_image_and_files_that_are_no_masks_are_said(own, tmp_path):
    (tmp_path / "cat" / "masks" / "a.npy").write_bytes(b"x")
    source = own(".png", name="b")
    assert not drawn(source).mask_is_given
    assert source.notes() == [
        f"not looked at in {tmp_path}: 1 .npy (cat/masks/a.npy)",
        "1 masks without an image of the same stem: cat/masks/b.png",
    ]


def test_show_tells_where_masks_came_from(own, tmp_path, capsys):
    Image.new("RGB", (SIDE, SIDE), "red").save(tmp_path / "cat" / "b.png")
    bank = tmp_path / "a.bank"
    build_bank(
        ["cat"], own(".jpg"), ColourEncoder(), bank,
        encoder_facts={"name": "mini", "fingerprint": "0"}, settings=BuildSettings(short_side=16),
    )  # fmt: skip
    with pytest.raises(SystemExit, match="0"):
        main(["references", "show", str(bank)])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "1 given, 1" in text
    assert "heuristic" in text
