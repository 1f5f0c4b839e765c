"""Every published layout, built by hand, reads as the class indices it was built from."""

import numpy as np
import pytest
from PIL import Image

import dataset_trees as trees
from dataset_trees import LAYOUTS, WNIDS
from lexiseg.core.errors import DatasetError, UnknownNameError
from lexiseg.data.class_lists import imagenet_classes
from lexiseg.data.datasets import DATASETS, FOLDER, open_dataset, reopen_dataset
from lexiseg.data.published.reader import PublishedDataset


def test_every_form_of_every_data_set_has_a_layout_here():
    layouts = {(name, layout.name) for name, facts in DATASETS.items() for layout in facts.layouts}
    same_code = {("voc20", "SegmentationClassAug"), ("voc20", "VOCaug")}
    assert layouts - set(LAYOUTS) == same_code


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_layout_reads_as_it_was_written(tmp_path, name, layout):
    tree = LAYOUTS[name, layout](tmp_path / "copy")
    splits = set(tree.truth) & set(DATASETS[name].splits)
    assert splits
    for split in splits:
        dataset = PublishedDataset(DATASETS[name], tree.path, split)
        assert dataset.layout.name == layout
        assert dataset.stems == sorted(tree.truth[split])
        assert len(dataset.vocabulary) == DATASETS[name].num_classes
        for stem, sample in zip(dataset.stems, dataset, strict=True):
            assert sample.label_map.dtype == np.uint16
            np.testing.assert_array_equal(sample.label_map, tree.truth[split][stem])
            assert sample.image.shape == (*sample.label_map.shape, 3)


def test_hdf5_of_version_1_0_is_turned_back(tmp_path):
    pytest.importorskip("h5py")
    tree = trees.stuff10k(tmp_path, "mat-1.0-hdf5")
    dataset = open_dataset("coco-stuff10k", tree.path)
    assert dataset.layout.name == "mat-1.0"
    for stem, sample in zip(dataset.stems, dataset, strict=True):
        np.testing.assert_array_equal(sample.label_map, tree.truth["test"][stem])


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
    from lexiseg.data.published.matlab_files import read_matlab_labels

    with pytest.raises(DatasetError, match=r"pip install 'lexiseg\[hdf5\]'"):
        read_matlab_labels(path, "S")


def test_both_roots_of_voc_are_found(tmp_path):
    trees.voc(tmp_path / "VOCdevkit" / "VOC2012", background=True)
    for path in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        assert len(open_dataset("voc21", path)) == trees.VAL


def test_converted_and_published_coco_side_by_side_are_told_apart(tmp_path):
    published = trees.coco(tmp_path, "published", "stuff171")
    trees.coco(tmp_path, "labelTrainIds", "stuff171")
    for layout in ("published", "labelTrainIds"):
        dataset = open_dataset("coco-stuff164k", tmp_path, layout=layout)
        assert dataset.stems == sorted(published.truth["val"])
    trees.coco(tmp_path, "instanceTrainIds", "object81")
    assert open_dataset("coco-object81", tmp_path).layout.name == "instanceTrainIds"
    assert open_dataset("coco-stuff164k", tmp_path).layout.name == "labelTrainIds"


def test_a_copy_opens_by_the_rules_of_another_also_as_earlier_stores_wrote_them(tmp_path):
    trees.coco(tmp_path, "published", "stuff171")
    trees.coco(tmp_path, "labelTrainIds", "stuff171")
    for rules in ({"layout": "published"}, {"form": "published"}):
        again = reopen_dataset({"dataset": "coco-stuff164k", **rules}, tmp_path)
        assert again.opened_with() == {"dataset": "coco-stuff164k", "layout": "published"}


def test_full_ade_is_shrunk_to_a_short_side_of_512(tmp_path):
    tree = trees.ade847(tmp_path, "release")
    image = tmp_path / "images/ADE/validation/urban/street/ADE_00000002.jpg"
    labels = np.zeros((600, 900, 3), np.uint8)
    labels[:, :, 1] = trees.ADE_IDS[0]
    labels[:, 450:, 1] = trees.ADE_IDS[1]
    Image.new("RGB", (900, 600), "red").save(image)
    Image.fromarray(labels).save(str(image).replace(".jpg", "_seg.png"))
    sample = open_dataset("ade20k-847", tree.path)[0]
    assert sample.image.shape == (512, 768, 3)
    assert sample.label_map.shape == (512, 768)
    assert (sample.label_map[:, :384] == 0).all()
    assert (sample.label_map[:, 384:] == 1).all()


def test_names_that_two_classes_of_ade847_share_give_way(tmp_path):
    vocabulary = open_dataset("ade20k-847", trees.ade847(tmp_path, "detectron2").path).vocabulary
    assert vocabulary.names[6:8] == ("object 6", "trapdoor")
    assert vocabulary.synonyms[6:8] == (("thing 6",), ())


def test_ids_of_imagenet_s_come_from_the_published_list_where_there_is_one(tmp_path):
    tree = trees.imagenet_s(tmp_path, 300, WNIDS[:300])
    chosen = WNIDS[100:400]
    (tmp_path / "ImageNetS_categories_im300.txt").write_text("\n".join(chosen))
    names = open_dataset("imagenet-s300", tree.path).vocabulary.names
    by_wnid = {entry.wnid: entry.name for entry in imagenet_classes()}
    assert names[0] == "other"
    assert names[1] == by_wnid[chosen[0]]


def test_image_with_a_turn_in_its_exif_data_is_read_as_stored(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    dataset = open_dataset("voc21", tree.path)
    stem = dataset.stems[2]
    height, width = tree.truth["val"][stem].shape
    assert height != width
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (width, height), "red").save(tmp_path / f"JPEGImages/{stem}.jpg", exif=exif)
    assert dataset[2].image.shape == (height, width, 3)


def test_fingerprint_follows_labels_but_not_the_place(tmp_path):
    one = open_dataset("voc21", trees.voc(tmp_path / "a", background=True).path).fingerprint()
    tree = trees.voc(tmp_path / "b", background=True)
    assert open_dataset("voc21", tree.path).fingerprint() == one
    assert open_dataset("voc20", tree.path).fingerprint() != one
    stem = min(tree.truth["val"])
    trees.save_palette(tree.path / f"SegmentationClass/{stem}.png", np.full_like(tree.truth["val"][stem], 3))
    assert open_dataset("voc21", tree.path).fingerprint() != one


@pytest.mark.parametrize(
    ("name", "missing", "words"),
    [
        ("context459", "labels.txt", ("no labels.txt", "do not come with lexiseg", "459 lines")),
        (
            "ade20k-847",
            "objects847.tsv",
            ("no objects847.tsv", "ADE20K_SEM_SEG_FULL_CATEGORIES", "847 lines"),
        ),
    ],
)
def test_absent_names_are_asked_for(tmp_path, name, missing, words):
    tree = trees.context459(tmp_path, "mat") if name == "context459" else trees.ade847(tmp_path, "detectron2")
    (tmp_path / missing).unlink()
    with pytest.raises(DatasetError) as caught:
        open_dataset(name, tree.path)
    for word in words:
        assert word in str(caught.value)


def test_absent_imagenet_s_classes_are_asked_for(tmp_path):
    tree = trees.imagenet_s(tmp_path, 300, WNIDS[:40])
    with pytest.raises(
        DatasetError, match=r"no ImageNetS_categories_im300.txt and no folder with 300 classes"
    ):
        open_dataset("imagenet-s300", tree.path)


def test_missing_files_are_counted_and_named(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    stem = min(tree.truth["val"])
    (tmp_path / f"SegmentationClass/{stem}.png").unlink()
    with pytest.raises(DatasetError, match=rf"1 of 4 label files missing: SegmentationClass/{stem}.png"):
        open_dataset("voc21", tree.path)


def test_empty_folder_is_answered_with_the_tree_and_the_source(tmp_path):
    with pytest.raises(DatasetError) as caught:
        open_dataset("ade20k-150", tmp_path)
    message = str(caught.value)
    for words in (
        "no label file of the split val",
        "annotations/validation/{stem}.png",
        "sceneparsing",
        "ADEChallenge",
    ):
        assert words in message


def test_unknown_name_split_and_form_get_suggestions(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    with pytest.raises(UnknownNameError, match="Nearest: voc21"):
        open_dataset("voc2l", tmp_path)
    with pytest.raises(UnknownNameError, match="Nearest: train"):
        open_dataset("voc21", tree.path, "trian")
    with pytest.raises(UnknownNameError, match="SegmentationClass"):
        open_dataset("voc21", tree.path, layout="segmentation")
    assert FOLDER not in DATASETS


def test_values_the_form_does_not_know_are_refused_with_a_reason(tmp_path):
    tree = trees.cityscapes(tmp_path, "labelTrainIds")
    label = next((tmp_path / "gtFine/val/ulm").iterdir())
    trees.save_grey(label, np.full((1, 1), 26))
    dataset = open_dataset("cityscapes19", tree.path)
    index = [pair.label for pair in dataset.pairs].index(label)
    with pytest.raises(DatasetError) as caught:
        dataset.read_labels(dataset.pairs[index])
    for words in ("1 pixels with the value 26", "0 to 18; void 255", "label ids", "createTrainIdLabelImgs"):
        assert words in str(caught.value)


def test_names_that_are_no_utf8_are_an_error_with_the_file(tmp_path):
    tree = trees.context459(tmp_path, "mat")
    (tmp_path / "labels.txt").write_bytes(b"1: caf\xe9\n")
    with pytest.raises(DatasetError, match=r"labels.txt: found .*; expected a UTF-8 text file"):
        open_dataset("context459", tree.path)


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [
        ("context459", "labels.txt", "1: sky\n2: sea\n", "2 names in labels.txt"),
        ("ade20k-847", "objects847.tsv", "wall 2978\n", "line 1 of objects847.tsv: 'wall 2978'"),
        ("ade20k-847", "objects847.tsv", "2978\twall\n", "1 lines and 1 different ids"),
    ],
)
def test_tables_of_names_are_checked(tmp_path, name, file, text, words):
    tree = trees.context459(tmp_path, "mat") if name == "context459" else trees.ade847(tmp_path, "detectron2")
    (tmp_path / file).write_text(text)
    with pytest.raises(DatasetError) as caught:
        open_dataset(name, tree.path)
    assert words in str(caught.value)
