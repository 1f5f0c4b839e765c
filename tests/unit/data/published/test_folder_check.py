"""A check of a data folder finds what would spoil training or scores."""

from pathlib import Path

import numpy as np
from PIL import Image

import dataset_trees as trees
from lexiseg.data.published.checks import check_folder
from lexiseg.data.published.label_file_checks import CheckReport


def errors(report: CheckReport) -> str:
    return "\n".join(f"{f.what} | {f.fix}" for f in report.findings if f.level == "error")


def folder(root: Path) -> Path:
    for below in ("images", "labels"):
        (root / below).mkdir(parents=True)
    (root / "classes.txt").write_text("cat\ndog\nbird\n")
    for stem, value in (("a", 0), ("b", 1), ("c", 255)):
        Image.new("RGB", (4, 3)).save(root / f"images/{stem}.png")
        trees.save_grey(root / f"labels/{stem}.png", np.full((3, 4), value))
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("c\n")
    return root


def test_good_folder(tmp_path):
    report = check_folder(folder(tmp_path))
    assert report.is_good
    lines = "\n".join(report.lines())
    assert "void: 33.3% of pixels" in lines
    assert "1 of 3 classes never occur (bird)" in lines
    assert lines.endswith("good (3 label files read)")


def test_bad_folder(tmp_path):
    folder(tmp_path)
    trees.save_grey(tmp_path / "labels/a.png", np.full((3, 4), 9))
    (tmp_path / "val.txt").write_text("b\nc\n")
    report = check_folder(tmp_path)
    assert "12 pixels with label 9" in errors(report)
    assert "1 images of val.txt are in train.txt as well: b" in errors(report)
    assert report.lines()[-1].endswith("2 things to mend (2 label files read)")


def test_folder_without_classes(tmp_path):
    assert "no classes.txt" in errors(check_folder(tmp_path))
