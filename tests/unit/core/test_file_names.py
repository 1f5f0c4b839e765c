"""Names that look the same are the same, however the letters are put together."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.file_names import class_key, is_clutter, name_key, why_unsafe
from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.folder import FolderDataset
from lexiseg.data.folder_lists import read_class_folders
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.methods.rim.references.own_folder import FolderSource

NAME = "café ångström"
FORMS = [(first, second) for first in ("NFC", "NFD") for second in ("NFC", "NFD")]


def form(name: str, which: str) -> str:
    return unicodedata.normalize(which, name)


def write(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).convert(mode).save(path)


def test_keys():
    assert name_key(form(NAME, "NFD")) == form(NAME, "NFC")
    assert class_key("Café  " + form("Ångström", "NFD")) == form(NAME, "NFC")


@pytest.mark.parametrize(
    "name", [".a", ".DS_Store", "._a.jpg", "__MACOSX", "__macosx", "Thumbs.db", "desktop.ini"]
)
def test_clutter(name):
    assert is_clutter(name)


@pytest.mark.parametrize("name", ["a.jpg", "_a.jpg", "thumbs.db.png", "__a__", "MACOSX"])
def test_no_clutter(name):
    assert not is_clutter(name)


@pytest.mark.parametrize(("first", "second"), FORMS)
def test_images_are_joined_with_labels_tags_captions_and_splits(tmp_path, first, second):
    (tmp_path / "classes.txt").write_text(form(NAME, first) + "\n", encoding="utf-8")
    write(tmp_path / "images" / f"{form(NAME, first)}.png")
    write(tmp_path / "labels" / f"{form(NAME, second)}.png", "L")
    other = form(NAME, second)
    (tmp_path / "tags.tsv").write_text(f"{other}\t{other}\n", encoding="utf-8")
    (tmp_path / "captions.tsv").write_text(f"{other}\ta place\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text(f"{other}\n", encoding="utf-8")
    sample = FolderDataset(tmp_path, "val", labels="required")[0]
    assert sample.label_map is not None
    assert sample.tags == frozenset({0})
    assert sample.captions == ("a place",)
    assert len(open_caption_source(tmp_path, split="val", cache=None)) == 1


@pytest.mark.parametrize(("first", "second"), FORMS)
def test_class_folders_references_masks_and_cutouts_are_found_by_name(tmp_path, first, second):
    folder = tmp_path / "own" / form(NAME, first)
    write(folder / f"{form(NAME, first)}.png")
    write(folder / "masks" / f"{form(NAME, second)}.png", "L")
    assert read_class_folders(tmp_path / "own")[0] == (form(NAME, "NFC"),)
    source = FolderSource(tmp_path / "own", lambda image: image[..., 0] > 0, found_by="test")
    (file,) = source._files(form(NAME, second))
    assert source._mask_of(file) is not None
    write(tmp_path / "cut" / f"{form(NAME, first)}.png", "RGBA")
    assert list(CutoutSource(tmp_path / "cut").by_name) == [class_key(form(NAME, second))]
    (tmp_path / "cut" / "names.tsv").write_text(f"{form(NAME, second)}.png\tcat\n", encoding="utf-8")
    assert "cat" in CutoutSource(tmp_path / "cut").by_name


@pytest.mark.parametrize("which", ["NFC", "NFD"])
def test_the_fingerprint_does_not_depend_on_the_form(tmp_path, which):
    (tmp_path / "classes.txt").write_text("cat\n")
    write(tmp_path / "images" / f"{form('é', which)}.png")
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    (other / "classes.txt").write_text("cat\n")
    write(other / "images" / f"{form('é', 'NFC')}.png")
    assert FolderDataset(tmp_path).fingerprint() == FolderDataset(other).fingerprint()


@pytest.mark.parametrize("name", ["a/b.jpg", "a..b", "...", "./a", "CON", "a.", "C:x", "a\\..\\b", "é/猫"])
def test_ordinary_paths_below_a_folder_are_safe(name):
    assert why_unsafe(name, windows=False) == ""


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "\0", "a\0b", "//host/share"]
)
@pytest.mark.parametrize("windows", [False, True])
def test_paths_that_leave_a_folder_are_not(name, windows):
    assert why_unsafe(name, windows=windows)


@pytest.mark.parametrize(
    "name",
    [
        "C:\\x",
        "c:x",
        "\\x",
        "a\\..\\..\\x",
        "CON",
        "nul.png",
        "a/aux.txt",
        "COM1",
        "lpt9.x",
        "a.",
        "b ",
        "a./b",
    ],
)
def test_what_windows_takes_for_something_else_is_not_safe_there(name):
    assert why_unsafe(name, windows=True)
