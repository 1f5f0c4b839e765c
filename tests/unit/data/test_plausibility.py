"""Labels that can be read and cannot mean what they say, and images turned without their labels."""

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data import plausibility
from lexiseg.data.folder import FolderDataset
from lexiseg.data.plausibility import data_warnings, doubtful_labels, is_turned_in_place, turned_in_place
from lexiseg.data.published.checks import check_folder

VOID = IGNORE_INDEX


@pytest.mark.parametrize(
    ("labels", "num_classes", "part"),
    [
        ([VOID], 3, "every pixel of every label file is void"),
        ([0, VOID], 2, "masks saved black and white (0 and 255)"),
        ([0, VOID], 1, "masks saved black and white"),
        ([0, 50, 100], 150, "all multiples of 50: they look like steps of grey"),
        ([0, 127, VOID], 200, ""),  # 127 and 255 share no step
        ([0, 85, 170, VOID], 200, "all multiples of 85"),
        ([0, 1], 2, ""),
        ([0, 1, VOID], 2, ""),
        ([0], 2, ""),
        ([1, VOID], 2, ""),
        ([0, 2, 4, VOID], 5, ""),
        ([3], 5, ""),
    ],
)
def test_value_sets_that_cannot_mean_classes(labels, num_classes, part):
    found = doubtful_labels(labels, num_classes)
    assert (part in found) if part else found == ""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\n")

    def add(stem, labels, orientation=None, size=(6, 6)):
        image = Image.new("RGB", size[::-1], "grey")
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        image.save(tmp_path / "images" / f"{stem}.jpg", exif=exif)
        if orientation in (5, 6, 7, 8):
            size = size[::-1]
        pixels = np.resize(np.array(labels, np.uint8), size)
        Image.fromarray(pixels).save(tmp_path / "labels" / f"{stem}.png")
        return tmp_path

    return add


@pytest.mark.parametrize(
    ("labels", "part"), [([0, 255], "black and white"), ([255], "every pixel"), ([0, 1, 255], None)]
)
def test_check_and_every_run_say_it(folder, labels, part):
    for stem in range(40):
        path = folder(f"{stem:02d}", labels)
    report = check_folder(path)
    warned = [finding.what for finding in report.findings if finding.level == "warning"]
    said = data_warnings(FolderDataset(path))
    if part is None:
        assert warned == said == []
    else:
        assert part in warned[0]
        assert part in said[0]
    assert report.is_good


def test_one_good_label_file_of_many_is_enough_to_say_nothing(folder):
    for stem in range(50):
        path = folder(f"{stem:02d}", [0, 255])
    assert data_warnings(FolderDataset(path))
    path = folder("20x", [0, 1])  # not among those that are looked at first
    assert data_warnings(FolderDataset(path)) == []


@pytest.mark.parametrize(
    ("orientation", "size", "turned"),
    [(None, (6, 6), False), (1, (6, 6), False), (9, (6, 6), False)]
    + [(orientation, (4, 8), True) for orientation in (2, 3, 4)]
    + [(orientation, (6, 6), True) for orientation in (2, 3, 4, 5, 6, 7, 8)]
    + [(orientation, (4, 8), False) for orientation in (5, 6, 7, 8)],
)
def test_turns_that_keep_the_size(folder, orientation, size, turned):
    path = folder("a", [0, 1], orientation, size)
    assert is_turned_in_place(path / "images" / "a.jpg") == turned
    said = data_warnings(FolderDataset(path))
    warned = [finding.what for finding in check_folder(path).findings if finding.level == "warning"]
    assert len(said) == len(warned) == turned
    if turned:
        assert said[0].startswith(
            "1 of 1 images are turned or mirrored by their EXIF data and keep their size (a.jpg)"
        )


def test_of_very_many_images_some_are_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(plausibility, "NUM_IMAGES", 20)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    opened = []
    assert turned_in_place([tmp_path / "a.png"] * 51, advance=lambda: opened.append(1)) == ""
    assert len(opened) == 17
