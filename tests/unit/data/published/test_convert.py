"""Conversions read back as the same classes, resume, and never touch their source."""

import numpy as np
import pytest
from PIL import Image

import dataset_trees as trees
from dataset_trees import LAYOUTS, WNIDS
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.data.datasets import DATASETS
from lexiseg.data.folder import FolderDataset
from lexiseg.data.published.convert import convert_dataset
from lexiseg.data.published.label_encodings import write_values
from lexiseg.data.published.reader import PublishedDataset
from lexiseg.data.splits import load_split

BETWEEN_FORMS = [
    (name, source, layout.name)
    for name, source in LAYOUTS
    for layout in DATASETS[name].layouts
    if layout.encoding == "index" and layout.name != source
]


def link_rest(tree: trees.Tree, out, dataset, target: str) -> None:
    """Put images and lists where the target layout looks for them."""
    layout = dataset.facts.layout(target)
    for pair in dataset.pairs:
        image = layout.image_path(out, dataset.split, pair.stem)
        image.parent.mkdir(parents=True, exist_ok=True)
        if not image.exists():
            image.symlink_to(pair.image)
    list_path = layout.list_path(out, dataset.split)
    if list_path is not None:
        list_path.parent.mkdir(parents=True, exist_ok=True)
        list_path.write_text("\n".join(dataset.stems))
    for name in ("objects847.tsv", "labels.txt"):
        if (tree.path / name).is_file():
            (out / name).write_text((tree.path / name).read_text())


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "source", "target"), BETWEEN_FORMS)
def test_form_becomes_form(tmp_path, name, source, target):
    tree = LAYOUTS[name, source](tmp_path / "source")
    split = DATASETS[name].default_split
    if split not in tree.truth:
        split = "trainaug"
    if split not in (DATASETS[name].layout(target).splits or {split}):
        with pytest.raises(InputError, match="does not hold the split trainaug"):
            convert_dataset(PublishedDataset(DATASETS[name], tree.path, split), tmp_path / "out", target)
        return
    out = tmp_path / "out"
    dataset = PublishedDataset(DATASETS[name], tree.path, split, layout=source)
    assert convert_dataset(dataset, out, target) == len(dataset)
    link_rest(tree, out, dataset, target)
    (out / "pcontext_full").mkdir(exist_ok=True)
    if name == "context459":
        (out / "pcontext_full" / "labels.txt").write_text("\n".join(trees.NAMES_459))
    again = PublishedDataset(DATASETS[name], out, split, layout=target)
    assert again.stems == dataset.stems
    for stem, sample in zip(again.stems, again, strict=True):
        np.testing.assert_array_equal(sample.label_map, tree.truth[split][stem])


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "source"), [key for key in LAYOUTS if "Aug" not in key[1] and "aug" not in key[1]]
)
def test_any_form_becomes_a_folder(tmp_path, name, source):
    tree = LAYOUTS[name, source](tmp_path / "source")
    dataset = PublishedDataset(DATASETS[name], tree.path)
    convert_dataset(dataset, tmp_path / "out")
    folder = FolderDataset(tmp_path / "out", dataset.split, labels="required")
    assert folder.vocabulary.names == dataset.vocabulary.names
    assert folder.vocabulary.synonyms == dataset.vocabulary.synonyms
    assert folder.stems == [stem.replace("/", "--") for stem in dataset.stems]
    for ours, theirs in zip(folder, dataset, strict=True):
        np.testing.assert_array_equal(ours.label_map, theirs.label_map)
        assert ours.image.shape == theirs.image.shape


def test_many_classes_are_written_in_16_bits(tmp_path):
    tree = trees.imagenet_s(tmp_path / "source", 300, WNIDS[:300])
    convert_dataset(PublishedDataset(DATASETS["imagenet-s300"], tree.path), tmp_path / "out")
    written = np.array(Image.open(next((tmp_path / "out/labels").iterdir())))
    assert written.dtype == np.uint16


def test_shrunk_images_go_along(tmp_path):
    tree = trees.ade847(tmp_path / "source", "release")
    dataset = PublishedDataset(DATASETS["ade20k-847"], tree.path)
    convert_dataset(dataset, tmp_path / "out", "detectron2")
    (tmp_path / "out/objects847.tsv").write_text((tree.path / "objects847.tsv").read_text())
    again = PublishedDataset(DATASETS["ade20k-847"], tmp_path / "out")
    assert [sample.image.shape for sample in again] == [sample.image.shape for sample in dataset]


def test_unseen_classes_are_hidden(tmp_path):
    tree = trees.voc(tmp_path / "source", background=False)
    dataset = PublishedDataset(DATASETS["voc20"], tree.path, "train")
    convert_dataset(dataset, tmp_path / "out", hide=load_split("zero-shot-voc"))
    hidden = FolderDataset(tmp_path / "out", "train")
    for ours, theirs in zip(hidden, dataset, strict=True):
        expected = np.where(
            (theirs.label_map >= 15) & (theirs.label_map < 20), IGNORE_INDEX, theirs.label_map
        )
        np.testing.assert_array_equal(ours.label_map, expected)


def test_hidden_classes_and_void_are_255_and_never_background(tmp_path):
    tree = trees.voc(tmp_path / "source", background=True)
    dataset = PublishedDataset(DATASETS["voc20"], tree.path, "train")
    convert_dataset(dataset, tmp_path / "out", "SegmentationClass", hide=load_split("zero-shot-voc"))
    for stem, truth in tree.truth["train"].items():
        written = np.array(Image.open(tmp_path / f"out/SegmentationClass/{stem}.png"))
        assert {0, 20, trees.VOID} <= set(truth.ravel().tolist())
        expected = np.where((truth > 15) | (truth == trees.VOID), 255, truth)
        np.testing.assert_array_equal(written, expected)


def test_images_with_a_turn_in_their_exif_data_stay_as_their_labels_are(tmp_path):
    tree = trees.voc(tmp_path / "source", background=True)
    dataset = PublishedDataset(DATASETS["voc21"], tree.path)
    exif = Image.Exif()
    exif[0x0112] = 6
    for pair in dataset.pairs:
        with Image.open(pair.image) as image:
            image.load()
        image.save(pair.image, exif=exif)
    dataset = PublishedDataset(DATASETS["voc21"], tree.path)
    convert_dataset(dataset, tmp_path / "out")
    for ours, theirs in zip(FolderDataset(tmp_path / "out", "val"), dataset, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label_map, theirs.label_map)
    assert convert_dataset(dataset, tmp_path / "out") == 0


def test_conversion_of_another_copy_is_not_mixed_in(tmp_path):
    tree = trees.voc(tmp_path / "source", background=True)
    dataset = PublishedDataset(DATASETS["voc21"], tree.path)
    convert_dataset(dataset, tmp_path / "out")
    trees.save_grey(dataset.pairs[0].label, np.zeros_like(dataset[0].label_map))
    with pytest.raises(InputError) as caught:
        convert_dataset(PublishedDataset(DATASETS["voc21"], tree.path), tmp_path / "out")
    assert "from label files or images that differ" in str(caught.value)
    assert "Choose another folder with --out" in str(caught.value)


def test_conversion_goes_on_where_it_stopped(tmp_path):
    tree = trees.voc(tmp_path / "source", background=True)
    dataset = PublishedDataset(DATASETS["voc21"], tree.path)
    convert_dataset(dataset, tmp_path / "out")
    next((tmp_path / "out/labels").iterdir()).unlink()
    calls: list[int] = []
    assert convert_dataset(dataset, tmp_path / "out", advance=lambda: calls.append(1)) == 1
    assert len(calls) == len(dataset)


def test_another_conversion_is_not_mixed_in(tmp_path):
    tree = trees.voc(tmp_path / "source", background=False)
    train = PublishedDataset(DATASETS["voc20"], tree.path, "train")
    convert_dataset(train, tmp_path / "out")
    with pytest.raises(InputError) as caught:
        convert_dataset(train, tmp_path / "out", hide=load_split("zero-shot-voc"))
    assert "label files of the split train made by" in str(caught.value)
    assert "'hidden': None" in str(caught.value)
    convert_dataset(PublishedDataset(DATASETS["voc20"], tree.path, "val"), tmp_path / "out")
    assert len(FolderDataset(tmp_path / "out")) == trees.TRAIN + trees.VAL
    (tmp_path / "out/conversion.json").write_text("{")
    with pytest.raises(InputError, match=r"a damaged conversion\.json"):
        convert_dataset(train, tmp_path / "out")


def test_source_is_never_written(tmp_path):
    tree = trees.coco(tmp_path, "published", "stuff171")
    dataset = PublishedDataset(DATASETS["coco-stuff164k"], tree.path)
    with pytest.raises(InputError, match="mistaken for each other"):
        convert_dataset(dataset, tree.path, "labelTrainIds")


def test_forms_that_are_only_read_are_refused_as_targets(tmp_path):
    tree = trees.stuff10k(tmp_path / "source", "labelTrainIds")
    dataset = PublishedDataset(DATASETS["coco-stuff10k"], tree.path)
    with pytest.raises(InputError, match="one of: labelTrainIds, detectron2, folder"):
        convert_dataset(dataset, tmp_path / "out", "mat-1.1")


def test_labels_that_do_not_fit_8_bits_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="the value 300"):
        write_values(tmp_path / "a.png", np.array([[300]], np.uint16), 8)


@pytest.mark.parametrize("stem", ["../../../escaped", "/absolute", "a/../../../../escaped"])
def test_a_list_whose_names_leave_the_folder_is_refused_and_nothing_written(tmp_path, stem):
    tree = LAYOUTS["voc21", "SegmentationClass"](tmp_path / "source")
    dataset = PublishedDataset(DATASETS["voc21"], tree.path)
    (path,) = tree.path.rglob("ImageSets/Segmentation/val.txt")
    path.write_text(f"{stem}\n{path.read_text()}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=r"leaves the folder|an absolute path"):
        convert_dataset(PublishedDataset(DATASETS["voc21"], tree.path), tmp_path / "out", "folder")
    assert sorted(tmp_path.rglob("*")) == before
    assert len(dataset)
