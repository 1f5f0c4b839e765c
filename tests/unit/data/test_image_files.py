"""Every place that takes a folder of images finds the same ones, and says what it does not look at."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.data.captions.opening import open_caption_source
from lexiseg.data.folder import FolderDataset
from lexiseg.data.folder_lists import read_class_folders
from lexiseg.data.image_files import PassedOver, list_images, walk_files
from lexiseg.data.images import IMAGE_SUFFIXES, load_image
from lexiseg.data.unlabelled_images import UnlabelledImages
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.methods.rim.references.own_folder import FolderSource
from lexiseg.runs.bulk.inputs import plan_images

#: A format that Pillow writes for a suffix that it does not write under that name.
FORMATS = {".mpo": "JPEG", ".pnm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".apng": "PNG", ".avifs": "AVIF"}
FORMATS |= dict.fromkeys([".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"], "JPEG2000")
CLUTTER = (".ipynb_checkpoints", "__MACOSX", ".hidden", "@eaDir", "$RECYCLE.BIN")
SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png")


def write(path: Path, colour: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full((12, 12, 3), colour, np.uint8))
    image.save(path, format=FORMATS.get(path.suffix.lower()))
    return path


def stems_of_segment(root: Path) -> set[str]:
    return {stem for _, stem in plan_images((str(root),), root / "out")}


def stems_of_folder(root: Path) -> set[str]:
    (root.parent / "data").mkdir()
    (root.parent / "data" / "classes.txt").write_text("cat\n")
    (root.parent / "data" / "images").symlink_to(root)
    return set(FolderDataset(root.parent / "data").stems)


def stems_of_captions(root: Path) -> set[str]:
    folder = root.parent / "captions"
    folder.mkdir()
    (folder / "images").symlink_to(root)
    files = [*root.rglob("*.*"), *root.glob("linked/*")]  # rglob does not follow links
    stems = {file.relative_to(root).with_suffix("").as_posix() for file in files if file.is_file()}
    (folder / "captions.tsv").write_text("".join(f"{stem}\ta cat\n" for stem in sorted(stems)))
    source = open_caption_source(folder, cache=None)
    return {source.read(index).key for index in range(len(source))}


def stems_of_classify(root: Path) -> set[str]:
    (root.parent / "classes").mkdir()
    (root.parent / "classes" / "cat").symlink_to(root)
    _, files = read_class_folders(root.parent / "classes")
    return {file.relative_to(root.parent / "classes" / "cat").with_suffix("").as_posix() for file, _ in files}


def stems_of_references(root: Path) -> set[str]:
    (root.parent / "references").mkdir()
    (root.parent / "references" / "cat").symlink_to(root)
    source = FolderSource(root.parent / "references", lambda image: image[..., 0] > 0, found_by="test")
    files = source._files("cat")
    return {file.relative_to(root.parent / "references" / "cat").with_suffix("").as_posix() for file in files}


def stems_of_unlabelled(root: Path) -> set[str]:
    return set(UnlabelledImages(root).stems)


def stems_of_cutouts(root: Path) -> set[str]:
    return {Path(file).with_suffix("").as_posix() for file in CutoutSource(root).files}


PLACES = [
    stems_of_segment,
    stems_of_folder,
    stems_of_captions,
    stems_of_classify,
    stems_of_references,
    stems_of_cutouts,
    stems_of_unlabelled,
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_of_the_list_is_really_read(root, suffix):
    path = write(root / f"a{suffix}")
    assert load_image(path).shape == (12, 12, 3)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_takes_every_suffix_in_any_case(root, place):
    suffixes = sorted(IMAGE_SUFFIXES)
    for number, suffix in enumerate(suffixes):
        write(root / f"n{number}{suffix}")
    os.rename(root / "n0.apng", root / "n0.APNG")
    assert place(root) == {f"n{number}" for number in range(len(suffixes))}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_looks_into_subfolders_and_linked_folders_and_not_into_clutter(root, tmp_path, place):
    write(root / "a.png")
    write(root / "deep" / "er" / "b.png")
    write(tmp_path / "elsewhere" / "c.png")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "deep" / "round").symlink_to(root)
    for name in CLUTTER:
        write(root / name / "x.png")
        write(root / "deep" / name / "x.png")
    for name in SYSTEM_FILES:
        (root / name).write_bytes(b"x")
    assert place(root) == {"a", "deep/er/b", "linked/c"}


@pytest.mark.parametrize("name", CLUTTER)
def test_clutter_is_never_a_class(tmp_path, name):
    for folder in ("cat", name):
        write(tmp_path / folder / "a.png")
    assert read_class_folders(tmp_path)[0] == ("cat",)
    assert list(FolderSource(tmp_path, lambda image: image[..., 0] > 0, found_by="test").folders) == ["cat"]


def test_what_is_passed_over_is_counted_by_suffix_or_reason(root, tmp_path):
    write(root / "a.png")
    for name in ("b.heic", "sub/c.heic", "d.HEIC", "e.heic", "notes.txt", "README", ".x.png", *SYSTEM_FILES):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "sub" / "up").symlink_to(root)
    passed_over = PassedOver()
    assert list_images(root, passed_over) == [root / "a.png"]
    assert passed_over.text() == (
        "4 .heic (b.heic, d.HEIC, e.heic, …), 1 .txt (notes.txt), 1 broken link or no plain file (gone.png),"
        " 1 hidden or left by a program (.x.png),"
        " 1 link to a folder that is searched anyway or holds this one (sub/up), 1 without suffix (README)"
    )


def test_a_link_to_a_folder_around_the_searched_one_is_not_followed(root, tmp_path):
    write(root / "a.png")
    write(tmp_path / "outside.png")
    (root / "up").symlink_to(tmp_path)
    assert list(walk_files(root, PassedOver())) == ["a.png"]


def test_segment_and_data_sets_say_what_they_pass_over(root, tmp_path):
    write(root / "a.png")
    (root / "b.heic").write_bytes(b"x")
    passed_over = PassedOver()
    plan_images((str(root), str(root / "*")), tmp_path / "out", passed_over)
    assert set(passed_over.names) == {".heic"}
    stems_of_folder(root)
    assert FolderDataset(tmp_path / "data").notes == ["not looked at in images/: 1 .heic (b.heic)"]
    passed_over = PassedOver()
    stems_of_classify(root)
    write(tmp_path / "classes" / "loose.png")
    read_class_folders(tmp_path / "classes", passed_over)
    assert (
        passed_over.text() == "1 .heic (cat/b.heic), 1 image outside the folders of the classes (loose.png)"
    )


@pytest.mark.parametrize("suffix", sorted({".jfif", ".jpe", ".ppm", ".avif"} & IMAGE_SUFFIXES))
def test_tar_members_of_any_image_suffix_are_records(tmp_path, suffix):
    image = write(tmp_path / f"p{suffix}").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in ((f"000{suffix}", image), ("000.txt", b"a cat")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert len(open_caption_source(tmp_path / "a.tar", cache=None)) == 1
