import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError, VocabularyError
from lexiseg.data.folder import FolderDataset

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture
def folder(tmp_path):
    """Make four images of 6×8; a to c labelled, c as 16-bit PNG, d with tags and captions only."""
    path = tmp_path / "mydata"
    for name in ("images", "labels"):
        (path / name).mkdir(parents=True)
    (path / "classes.txt").write_text("background\ncat\tkitten, pussycat\ngrass\n")
    for index, name in enumerate(("a.jpg", "b.png", "c.webp", "d.JPG")):
        Image.new("RGB", (8, 6), (40 * index, 0, 0)).save(path / "images" / name)
    for stem, kind in (("a", np.uint8), ("b", np.uint8), ("c", np.uint16)):
        labels = np.zeros((6, 8), kind)
        labels[:3], labels[5] = 2, np.iinfo(kind).max
        Image.fromarray(labels).save(path / "labels" / f"{stem}.png")
    (path / "tags.tsv").write_text('d\tKitten, "grass"\nb\t\n')
    (path / "captions.tsv").write_text("d\tA cat, on grass. \nd\tSecond\tsentence.\n\n")
    (path / "seen.txt").write_text("background\ncat\n")
    (path / "val.txt").write_text("c\na\na\n")
    (path / "images" / "._a.jpg").write_bytes(b"x")
    return path


def refused(path, *parts, **options):
    with pytest.raises(DatasetError) as caught:
        FolderDataset(path, **options)
    for part in (f"reading the data set {path}", *parts):
        assert part in str(caught.value)


def test_a_folder_gives_its_samples_in_order_with_all_that_belongs_to_them(folder):
    dataset = FolderDataset(folder)
    assert (len(dataset), dataset.stems, dataset.num_unlabelled) == (4, ["a", "b", "c", "d"], 1)
    a, b, c, d = dataset
    for sample in (a, b, c):
        assert sample.image.shape == (6, 8, 3)
        assert sample.label_map[:, 0].tolist() == [2, 2, 2, 0, 0, 65535]
    assert d.label_map is None
    assert (a.tags, b.tags, d.tags) == (None, frozenset(), frozenset({1, 2}))
    assert (a.captions, d.captions) == ((), ("A cat, on grass.", "Second\tsentence."))
    assert d.source == folder / "images" / "d.JPG"
    with pytest.raises(IndexError):
        dataset[4]


def test_the_vocabulary_has_synonyms_background_and_seen_classes(folder):
    vocabulary = FolderDataset(folder).vocabulary
    assert vocabulary.names == ("background", "cat", "grass")
    assert vocabulary.synonyms[1] == ("kitten", "pussycat")
    assert (vocabulary.background, vocabulary.seen) == (0, frozenset({0, 1}))
    (folder / "seen.txt").unlink()
    assert FolderDataset(folder).vocabulary.seen is None


def test_a_first_class_named_null_is_the_background(folder):
    (folder / "classes.txt").write_text("null\ncat\tkitten\ngrass\n")
    (folder / "seen.txt").unlink()
    assert FolderDataset(folder).vocabulary.background == 0


def test_a_split_takes_its_stems_once_and_sorted(folder):
    assert FolderDataset(folder, "val").stems == ["a", "c"]


def test_images_without_labels_are_kept_refused_or_left_out_as_asked(folder):
    assert len(FolderDataset(folder, labels="optional")) == 4
    only = FolderDataset(folder, labels="only")
    assert (only.stems, only.num_unlabelled) == (["a", "b", "c"], 1)
    refused(folder, "1 of 4 images without a label file: d", 'labels="only"', labels="required")
    assert FolderDataset(folder, "val", labels="required").num_unlabelled == 0


def test_reading_is_put_off_until_a_sample_is_asked_for(folder):
    (folder / "images" / "b.png").write_bytes(b"broken")
    (folder / "labels" / "c.png").write_bytes(b"")
    dataset = FolderDataset(folder)
    assert dataset[0].label_map is not None
    with pytest.raises(DatasetError, match=r"c\.png: found an empty file"):
        dataset[2]


def test_windows_line_ends_and_a_byte_order_mark_are_read(folder):
    for name in ("tags.tsv", "captions.tsv", "seen.txt", "val.txt", "classes.txt"):
        text = (folder / name).read_text()
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    dataset = FolderDataset(folder, "val")
    assert dataset.stems == ["a", "c"]
    assert FolderDataset(folder)[3].captions[0] == "A cat, on grass."
    assert dataset.vocabulary.seen == frozenset({0, 1})


def test_a_missing_folder_file_or_list_is_named(folder, tmp_path):
    refused(tmp_path / "absent", "found no folder there")
    refused(folder / "classes.txt", "found a file")
    refused(folder, "found no test.txt", "one of the splits there: val", split="test")
    (folder / "val.txt").write_text("\n")
    refused(folder, "found no stem in val.txt", split="val")
    (folder / "classes.txt").unlink()
    refused(folder, "found no classes.txt", "the first line for label 0")


def test_a_bad_line_of_classes_is_the_vocabularys_own_error(folder):
    (folder / "classes.txt").write_text("cat\n\ngrass\n")
    with pytest.raises(VocabularyError, match=r"classes\.txt .*an empty name \(class 1\)"):
        FolderDataset(folder)


def test_a_folder_without_images_says_what_is_there_instead(folder):
    shutil.rmtree(folder / "images")
    refused(folder, "found no folder images/")
    (folder / "images").mkdir()
    refused(folder, "found no image in images/;")
    (folder / "images" / "a.psd").write_text("")
    refused(folder, "found no image in images/ (1 .psd (a.psd))")


def test_two_images_of_one_stem_are_refused(folder):
    shutil.copy(folder / "images" / "b.png", folder / "images" / "a.png")
    refused(folder, "2 images of the stem 'a': a.jpg, a.png")


def test_labels_without_image_are_counted_and_the_first_listed(folder):
    for stem in ("x1", "x2", "x3", "x4"):
        shutil.copy(folder / "labels" / "a.png", folder / "labels" / f"{stem}.png")
    refused(folder, "4 of 7 label files without an image: x1, x2, x3, …", "_labelTrainIds")


def test_label_files_of_another_kind_are_not_overlooked(folder):
    Image.new("L", (8, 6)).save(folder / "labels" / "d.jpg")
    refused(folder, "found the label file labels/d.jpg", "index PNGs")


def test_no_label_at_all_is_an_error_only_where_labels_are_needed(folder):
    shutil.rmtree(folder / "labels")
    assert FolderDataset(folder)[0].label_map is None
    refused(folder, "found no label file for any of its 4 images", labels="only")


def test_a_label_map_of_another_size_is_refused_with_both_sizes(folder):
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(folder / "labels" / "b.png")
    with pytest.raises(
        DatasetError, match=r"b\.png: found a label map of 5×8 for the image b\.png of 6×8"
    ) as caught:
        FolderDataset(folder)[1]
    assert "nearest neighbour" in caught.value.fix
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(folder / "labels" / "b.png")
    with pytest.raises(DatasetError, match="The sides are swapped"):
        FolderDataset(folder)[1]


def test_labels_one_too_high_are_recognised_and_reduced_on_request(folder):
    Image.fromarray(np.full((6, 8), 3, np.uint8)).save(folder / "labels" / "b.png")
    with pytest.raises(
        DatasetError, match=r"b\.png: found 48 pixels with label 3; expected 0 to 2"
    ) as caught:
        FolderDataset(folder)[1]
    assert "reduce_zero=True" in caught.value.fix
    dataset = FolderDataset(folder, reduce_zero=True)
    assert dataset[1].label_map[0, 0] == 2
    assert dataset[0].label_map[:, 0].tolist() == [1, 1, 1, 65535, 65535, 65535]
    assert dataset.fingerprint() != FolderDataset(folder).fingerprint()


def test_an_unknown_class_in_tags_or_seen_names_the_nearest(folder):
    (folder / "tags.tsv").write_text("d\tcat, gras\n")
    refused(folder, "the class 'gras' in tags.tsv (image d)", "Nearest: grass")
    (folder / "seen.txt").write_text("kiten\n")
    refused(folder, "the class 'kiten' in seen.txt", "Nearest: kitten")


@pytest.mark.parametrize("name", ["tags.tsv", "captions.tsv", "val.txt"])
def test_a_stem_without_file_is_refused_wherever_it_is_listed(folder, name):
    text = "" if name == "val.txt" else "\tcat"
    (folder / name).write_text(f"a{text}\nzebra{text}\n")
    refused(folder, f"1 of 2 stems in {name} without an image: zebra", split="val")
    (folder / name).write_text(f"a.jpg{text}\n")
    refused(folder, f"1 of 1 stems in {name} without an image: a.jpg", "Leave out .jpg", split="val")


def test_a_line_without_tab_and_text_that_is_not_utf8_are_refused(folder):
    (folder / "captions.tsv").write_text("d\tfine\nd spaces only\n")
    refused(folder, "no tab in line 2 of captions.tsv: 'd spaces only'")
    (folder / "captions.tsv").write_bytes(b"d\t\xff\xfe\n")
    refused(folder, "captions.tsv, which cannot be read", "Save the file as UTF-8")


def test_the_fingerprint_follows_content_and_not_place(folder, tmp_path):
    first = FolderDataset(folder).fingerprint()
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert FolderDataset(copy).fingerprint() == first
    assert FolderDataset(copy, "val").fingerprint() != first
    Image.fromarray(np.ones((6, 8), np.uint8)).save(copy / "labels" / "a.png")
    changed_label = FolderDataset(copy).fingerprint()
    (copy / "classes.txt").write_text("background\ncat\tkitten, tomcat\ngrass\n")
    assert len({first, changed_label, FolderDataset(copy).fingerprint()}) == 3


@pytest.mark.parametrize(
    ("name", "num_classes", "num_labelled", "num_images", "background"),
    [("coco-free", 129, 26, 26, None), ("clothing", 59, 400, 800, 0)],
)
def test_real_folders_are_read(name, num_classes, num_labelled, num_images, background):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the data set {name} is not at {SHARED}: nothing real was read")
    dataset = FolderDataset(SHARED / name, labels="only")
    assert (len(dataset), len(dataset) + dataset.num_unlabelled) == (num_labelled, num_images)
    assert (len(dataset.vocabulary), dataset.vocabulary.background) == (num_classes, background)
    sample = dataset[len(dataset) - 1]
    assert sample.label_map.shape == sample.image.shape[:2]


def test_two_label_files_of_one_stem_are_refused(folder):
    shutil.copy(folder / "labels" / "b.png", folder / "labels" / "a.PNG")
    if len(list((folder / "labels").iterdir())) == 3:
        pytest.skip("the file system takes a.png and a.PNG for one file")
    refused(folder, "2 label files of the stem 'a': a.PNG, a.png", "Remove one of them")


@pytest.mark.parametrize("split", ["classes", "seen"])
def test_a_list_of_classes_is_no_split(folder, split):
    refused(
        folder, f"found {split}.txt, which lists classes; expected one of the splits there: val", split=split
    )
