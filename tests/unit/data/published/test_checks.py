"""Each trap of the published data sets is built, and the check's words are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import dataset_trees as trees
from dataset_trees import LAYOUTS
from lexiseg.core.errors import UnknownNameError
from lexiseg.data.datasets import DATASETS
from lexiseg.data.published.checks import check_dataset
from lexiseg.data.published.label_file_checks import CheckReport
from lexiseg.data.splits import load_split


def check(name: str, path: Path, **options: object) -> CheckReport:
    return check_dataset(DATASETS[name], path, **{"whole": False, **options})


def errors(report: CheckReport) -> str:
    return "\n".join(f"{f.what} | {f.fix}" for f in report.findings if f.level == "error")


def labels_of(tree: trees.Tree, pattern: str) -> list[Path]:
    found = sorted(tree.path.glob(pattern))
    assert found
    return found


def rewrite(path: Path, change: object) -> None:
    """Change the numbers of an index PNG."""
    trees.save_grey(path, change(np.array(Image.open(path)).astype(np.int64)))


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_whole_copy_is_good(tmp_path, name, layout):
    only_training = layout in ("VOCaug", "SegmentationClassAug")
    path = LAYOUTS[name, layout](tmp_path / "copy").path
    report = check(name, path, splits=("trainaug",) if only_training else ())
    assert report.is_good, report.lines()
    assert report.num_label_files == (trees.TRAIN if only_training else trees.TRAIN + trees.VAL)
    assert not [f for f in report.findings if f.level == "warning"]
    notes = "\n".join(report.lines())
    assert f"layout {layout}: " in notes
    assert only_training or "classes never occur" in notes


def test_number_of_images_is_compared_unless_it_is_a_part(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    report = check("voc21", tree.path, whole=True)
    assert "4 images; published are 1,449" in errors(report)
    assert "2 images; published are 1,464" in errors(report)
    assert "--part" in errors(report)


def test_missing_files_and_repeated_lines(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    labels_of(tree, "SegmentationClass/*3.png")[0].unlink()
    labels_of(tree, "JPEGImages/*4.jpg")[0].unlink()
    with (tmp_path / "ImageSets/Segmentation/val.txt").open("a") as file:
        file.write("2007_000005\n")
    text = errors(check("voc21", tree.path))
    assert "1 of 4 label files missing: SegmentationClass/2007_000003.png" in text
    assert "1 of 4 images missing: JPEGImages/2007_000004.jpg" in text
    assert "1 images listed more than once in val.txt: 2007_000005" in text


def test_palette_applied_is_named_with_the_way_back(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    for path in labels_of(tree, "SegmentationClass/*.png"):
        Image.open(path).convert("RGB").save(path)
    report = check("voc21", tree.path)
    assert "a palette PNG was saved as RGB" in errors(report)
    assert "voc_colours_to_labels" in errors(report)
    assert "(3 label files: 2007_000003.png" in errors(report)  # the image of one pixel is merely black


def test_bare_subtraction_in_voc_is_recognised(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    for path in labels_of(tree, "SegmentationClass/*.png"):
        rewrite(path, lambda values: (values - 1) % 256)
    report = check("voc21", tree.path)
    assert "254 is 255 less one" in errors(report)


def test_zero_already_reduced_is_doubted(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    for path in labels_of(tree, "SegmentationClass/*.png"):
        rewrite(path, lambda values: np.where(values == 0, 255, values))
    report = check("voc21", tree.path)
    assert report.is_good
    assert "zero was probably reduced already" in "\n".join(report.lines())


def reduced_in_place(values: np.ndarray) -> np.ndarray:
    return np.where((values == 0) | (values == 255), 255, values - 1)


REDUCED_IN_PLACE = [
    ("voc21", lambda path: trees.voc(path, background=True), "SegmentationClass/*.png", 20),
    ("voc20", lambda path: trees.voc(path, background=True), "SegmentationClass/*.png", 20),
    ("context60", lambda path: trees.context(path, "SegmentationClassContext", scored=True),
     "SegmentationClassContext/*.png", 59),
    ("context59", lambda path: trees.context(path, "pc59", scored=False),
     "annotations_detectron2/*/*.png", 58),
    ("coco-stuff164k", lambda path: trees.coco(path, "labelTrainIds", "stuff171"),
     "annotations/*/*.png", 170),
    ("coco-stuff164k", lambda path: trees.coco(path, "detectron2", "stuff171"),
     "stuffthingmaps_detectron2/*/*.png", 170),
    ("coco-stuff164k", lambda path: trees.coco(path, "published", "stuff171"), "annotations/*/*.png", 181),
    ("coco-object81", lambda path: trees.coco(path, "published", "stuff171"), "annotations/*/*.png", 181),
    ("cityscapes19", lambda path: trees.cityscapes(path, "labelTrainIds"),
     "gtFine/*/*/*_labelTrainIds.png", 18),
    ("ade20k-150", lambda path: trees.ade150(path, "detectron2"), "annotations_detectron2/*/*.png", 149),
]  # fmt: skip


def whole(name: str, path: Path) -> CheckReport:
    """Check a tree as if so few images were the published number."""
    facts = replace(DATASETS[name], splits={"train": (trees.TRAIN,), "val": (trees.VAL,)})
    return check_dataset(facts, path)


@pytest.mark.parametrize(("name", "make", "pattern", "last"), REDUCED_IN_PLACE)
def test_zero_reduced_in_place_is_bad_in_a_whole_copy(tmp_path, name, make, pattern, last):
    tree = make(tmp_path)
    assert whole(name, tree.path).is_good
    for path in labels_of(tree, pattern):
        rewrite(path, reduced_in_place)
    text = errors(whole(name, tree.path))
    assert f"no pixel of {last}, the highest class" in text
    assert "zero was probably reduced in place" in text
    assert "Use the original files" in text


def test_part_without_the_highest_class_is_doubted_only_where_255_is_very_frequent(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    for path in labels_of(tree, "SegmentationClass/*.png"):
        rewrite(path, lambda values: np.where(values == 20, 1, values))
        rewrite(path, lambda values: np.kron(np.where(values == 255, 0, values), np.ones((4, 4))))
        rewrite(path, lambda values: np.where(np.arange(values.size).reshape(values.shape) == 3, 255, values))
        with Image.open(tmp_path / f"JPEGImages/{path.stem}.jpg") as image:
            larger = image.resize((image.width * 4, image.height * 4))
        larger.save(tmp_path / f"JPEGImages/{path.stem}.jpg")
    report = check("voc21", tree.path)
    assert not [f for f in report.findings if f.level != "info"], report.lines()
    for path in labels_of(tree, "SegmentationClass/*.png"):
        rewrite(
            path, lambda values: np.where(np.arange(values.size).reshape(values.shape) % 4 > 1, 255, values)
        )
    report = check("voc21", tree.path)
    assert report.is_good
    assert "reduced in place" in "\n".join(f.what for f in report.findings if f.level == "warning")


def test_label_of_another_size_and_turned(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    paths = labels_of(tree, "SegmentationClass/*.png")
    trees.save_grey(paths[2], np.zeros((2, 2)))
    rewrite(paths[1], lambda values: values.T)
    text = errors(check("voc21", tree.path))
    assert "resize with nearest neighbour only" in text
    assert "sides are swapped" in text


def test_damaged_label_file_is_named(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    path = labels_of(tree, "SegmentationClass/*.png")[-1]
    path.write_bytes(path.read_bytes()[:30])
    assert path.name in errors(check("voc21", tree.path))


def test_val_image_in_the_training_list(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    with (tmp_path / "ImageSets/Segmentation/train.txt").open("a") as file:
        file.write("2007_000005\n")
    text = errors(check("voc21", tree.path))
    assert "1 images of val are listed for training as well: 2007_000005" in text
    assert "Remove them from the list of train" in text


def test_unseen_labels_in_training_maps(tmp_path):
    tree = trees.voc(tmp_path, background=False)
    text = errors(check("voc20", tree.path, class_split=load_split("zero-shot-voc")))
    assert "labels of unseen classes of zero-shot-voc (tvmonitor) in 2 label files for training" in text
    assert "--hide-unseen zero-shot-voc" in text
    for path in labels_of(tree, "SegmentationClass/*.png"):
        rewrite(path, lambda values: np.where(values > 15, 255, values))
    assert check("voc20", tree.path, class_split=load_split("zero-shot-voc")).is_good


def test_split_of_another_data_set_is_refused(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    text = errors(check("voc21", tree.path, class_split=load_split("zero-shot-voc")))
    assert "expected the 20 classes of voc20" in text


def test_train_ids_in_place_of_published_coco(tmp_path):
    tree = trees.coco(tmp_path, "labelTrainIds", "stuff171")
    for path in labels_of(tree, "annotations/*/*.png"):
        rewrite(path, lambda values: np.where(values == 85, 11, values))
        path.rename(path.with_name(path.name.replace("_labelTrainIds", "")))
    text = errors(check("coco-stuff164k", tree.path))
    assert "the value 11 in" in text
    assert "converted in place to 0 to 170" in text


def test_published_coco_renamed_but_not_converted(tmp_path):
    tree = trees.coco(tmp_path, "published", "stuff171")
    for path in labels_of(tree, "annotations/*/*.png"):
        path.rename(path.with_name(path.stem + "_labelTrainIds.png"))
    text = errors(check("coco-stuff164k", tree.path))
    assert "the value 181 in" in text
    assert "--from published --to labelTrainIds" in text


def test_reduce_zero_on_164k_is_doubted(tmp_path):
    tree = trees.coco(tmp_path, "labelTrainIds", "stuff171")
    for path in labels_of(tree, "annotations/*/*.png"):
        rewrite(path, lambda values: np.where((values == 0) | (values == 255), 255, values - 1))
    for path in labels_of(tree, "annotations/*/*.png"):  # what was bicycle is person now: drop it too
        rewrite(path, lambda values: np.where(values == 0, 255, values))
    assert "reduce_zero_label" in "\n".join(check("coco-stuff164k", tree.path).lines())


def test_void_in_coco_object_is_bad(tmp_path):
    tree = trees.coco(tmp_path, "instanceTrainIds", "object81")
    rewrite(
        labels_of(tree, "annotations/val2017/*.png")[0], lambda values: np.where(values == 0, 255, values)
    )
    text = errors(check("coco-object81", tree.path))
    assert "the value 255 in 1 label file" in text
    assert "everything above 90" in text


def test_version_1_0_among_files_of_1_1_and_the_reverse(tmp_path):
    tree = trees.stuff10k(tmp_path, "mat-1.1")
    for path in labels_of(tree, "annotations/*.mat")[3:4]:
        savemat(path, {"S": np.full((8, 8), 12, np.uint8), "names": trees.names(172)})
    text = errors(check("coco-stuff10k", tree.path))
    assert "another version than the first one (mat-1.1)" in text
    assert "Do not mix versions" in text


def test_mat_files_without_names_are_told_apart_by_their_values(tmp_path):
    tree = trees.stuff10k(tmp_path, "mat-1.1")
    for path in labels_of(tree, "annotations/*.mat"):
        size = Image.open(tmp_path / f"images/{path.stem}.jpg").size[::-1]
        savemat(path, {"S": np.full(size, 12, np.uint8)})
    text = errors(check("coco-stuff10k", tree.path))
    assert "the value 12 in 4 label files" in text
    assert "these are files of version 1.0" in text


def test_255_in_the_files_of_10k_that_have_0_for_void(tmp_path):
    tree = trees.stuff10k(tmp_path, "labelTrainIds")
    for path in labels_of(tree, "annotations/*/*.png"):
        rewrite(path, lambda values: (values - 1) % 256)
    text = errors(check("coco-stuff10k", tree.path))
    assert "255" in text
    assert "annotations_detectron2/" in text


def test_171_in_the_files_of_10k_that_have_255_for_void(tmp_path):
    tree = trees.stuff10k(tmp_path, "detectron2")
    for path in labels_of(tree, "annotations_detectron2/*/*.png"):
        rewrite(path, lambda values: (values + 1) % 256)
    assert "171 in files of 0 to 170" in errors(check("coco-stuff10k", tree.path))


def test_ade_reduced_twice_and_not_at_all(tmp_path):
    tree = trees.ade150(tmp_path / "a", "annotations")
    for path in labels_of(tree, "annotations/*/*.png"):
        rewrite(path, lambda values: (values - 1) % 256)
    assert "reducing it again shifts every class" in errors(check("ade20k-150", tree.path))
    tree = trees.ade150(tmp_path / "b", "detectron2")
    for path in labels_of(tree, "annotations_detectron2/*/*.png"):
        rewrite(path, lambda values: (values + 1) % 256)
    assert "150 in files of 0 to 149" in errors(check("ade20k-150", tree.path))


@pytest.mark.parametrize("name", ["ade20k-847", "context459"])
def test_eight_bits_for_more_classes_than_fit(tmp_path, name):
    tree = (
        trees.ade847(tmp_path, "detectron2") if name == "ade20k-847" else trees.context459(tmp_path, "pc459")
    )
    for path in labels_of(tree, "annotations_detectron2/*/*.tif"):
        trees.save_grey(path, np.array(Image.open(path)) % 256)
    text = errors(check(name, tree.path))
    assert f"an 8-bit file for {DATASETS[name].num_classes} classes" in text
    assert "to 16 bits" in text


def test_void_of_8_bits_in_16_bit_files_is_a_class_that_nobody_can_tell(tmp_path):
    tree = trees.context459(tmp_path, "pc459")
    path = labels_of(tree, "annotations_detectron2/pc459_val/*.tif")[0]
    Image.fromarray(np.full_like(np.array(Image.open(path)), 459)).save(path)
    assert "the value 459 in 1 label file" in errors(check("context459", tree.path))


def test_label_ids_under_the_name_of_train_ids(tmp_path):
    tree = trees.cityscapes(tmp_path, "labelIds")
    for path in labels_of(tree, "gtFine/*/*/*.png"):
        path.rename(str(path).replace("labelIds", "labelTrainIds"))
    text = errors(check("cityscapes19", tree.path))
    assert "are label ids (_labelIds), not train ids" in text
    assert "--from labelIds --to labelTrainIds" in text


def test_red_and_green_swapped_in_imagenet_s(tmp_path):
    tree = LAYOUTS["imagenet-s300", "red-green"](tmp_path)
    for path in labels_of(tree, "validation-segmentation/*/*.png"):
        Image.fromarray(np.array(Image.open(path))[..., [1, 0, 2]]).save(path)
    text = errors(check("imagenet-s300", tree.path))
    assert "The id is R + 256 G" in text


def test_red_and_blue_swapped_in_imagenet_s(tmp_path):
    tree = LAYOUTS["imagenet-s50", "red-green"](tmp_path)
    for path in labels_of(tree, "validation-segmentation/*/*.png"):
        Image.fromarray(np.array(Image.open(path))[..., ::-1]).save(path)
    assert "blue" in errors(check("imagenet-s50", tree.path))


def test_masks_of_a_larger_imagenet_s(tmp_path):
    tree = LAYOUTS["imagenet-s919", "red-green"](tmp_path)
    text = errors(check("imagenet-s50", tree.path))
    assert "use the folder ImageNetS50" in text


def test_ids_of_459_in_place_of_59(tmp_path):
    tree = trees.context(tmp_path, "SegmentationClassContext", scored=True)
    for path in labels_of(tree, "SegmentationClassContext/*.png"):
        rewrite(path, lambda values: np.where(values == 59, 104, values))
    text = errors(check("context60", tree.path))
    assert "original ids" in text
    assert "--from mat" in text


def test_absent_names_are_a_finding(tmp_path):
    tree = trees.context459(tmp_path, "mat")
    (tmp_path / "labels.txt").unlink()
    assert "no labels.txt" in errors(check("context459", tree.path))


def test_split_that_is_not_there_is_bad_only_when_asked_for_or_reported(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    report = check("voc21", tree.path)
    assert report.is_good
    assert any(f.what == "not there" and f.split == "trainaug" for f in report.findings)
    assert "trainaug" in "\n".join(check("voc21", tree.path, splits=("trainaug",)).lines())
    assert not check("voc21", tree.path, splits=("trainaug",)).is_good
    with pytest.raises(UnknownNameError):
        check("voc21", tree.path, splits=("test",))


def test_wholly_void_files_and_share_of_void_are_noted(tmp_path):
    tree = trees.voc(tmp_path, background=True)
    for path in labels_of(tree, "SegmentationClass/*.png")[2:]:
        rewrite(path, lambda values: np.full_like(values, 255))
    lines = "\n".join(check("voc21", tree.path).lines())
    assert "4 label files without one scored pixel" in lines
    assert "[val] void: 100.0% of pixels" in lines
