"""What is written in a format and read again where it lies is the same label map, whatever the format."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import UnknownNameError
from lexiseg.data.folder import FolderDataset, split_to_score
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import CocoCategories
from lexiseg.data.formats.known_formats import FORMATS, known_format

NAMES = ("cat", "potted plant", "building, edifice", "café <b>")

#: Formats that no reader of a data set can take: they say neither sizes nor names, or no pixels.
_ONLY_WRITTEN = {"coco-results", "table"}


def label_maps() -> dict[str, np.ndarray]:
    nested = np.zeros((21, 33), np.uint16)
    nested[2:19, 3:30] = 1
    nested[5:16, 6:20] = 2  # a hole of class 1
    nested[8:12, 9:14] = IGNORE_INDEX  # a hole of class 2
    nested[9, 10] = 3  # one pixel within the hole
    nested[0, 0] = nested[1, 1] = 2  # pixels that touch at corners only
    speckled = np.random.default_rng(0).integers(0, len(NAMES), (17, 9)).astype(np.uint16)
    empty = np.full((5, 7), IGNORE_INDEX, np.uint16)
    return {"nested": nested, "deep/speckled": speckled, "empty": empty}


def written(tmp_path, name, maps=None, names=NAMES):
    maps = label_maps() if maps is None else maps
    for stem, labels in maps.items():
        path = tmp_path / "images" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(path)
    images = [
        LabelledImage(
            stem=stem,
            id=number,
            file_name=f"{stem}.png",
            label_map=labels,
            scores={0: 0.5},
            source=tmp_path / "images" / f"{stem}.png",
        )
        for number, (stem, labels) in enumerate(maps.items(), 1)
    ]
    chosen = known_format(name)
    out = tmp_path / "out" / f"data{chosen.suffix}"
    out.parent.mkdir()
    assert chosen.write(images, CocoCategories(names=names, ids=tuple(range(len(names)))), out) > 0
    if chosen.suffix or name in ("labelme", "png"):
        shutil.copytree(tmp_path / "images", (out.parent if chosen.suffix else out) / "images")
    return out


def as_names(label_map, names):
    table = np.array([*names, *[""] * (IGNORE_INDEX + 1 - len(names))])
    return table[label_map]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in _ONLY_WRITTEN])
def test_what_is_written_reads_back_the_same(tmp_path, name):
    out = written(tmp_path, name)
    dataset = FolderDataset(out)
    for index, stem in enumerate(dataset.stems):
        (key,) = [key for key in label_maps() if stem.endswith(key)]
        sample = dataset[index]
        expected = as_names(label_maps()[key], NAMES)
        assert (as_names(sample.label_map, dataset.vocabulary.names) == expected).all(), key
        assert (dataset.read_label_map(index) == sample.label_map).all()
    assert len(dataset) == 3
    assert len(dataset.fingerprint()) == 64


@pytest.mark.parametrize("name", ["coco", "coco-panoptic", "cvat-masks", "png"])
def test_more_classes_than_eight_bits_hold(tmp_path, name):
    names = tuple(f"class {number}" for number in range(700))
    labels = np.arange(700, dtype=np.uint16).reshape(20, 35)
    dataset = FolderDataset(written(tmp_path, name, {"many": labels}, names))
    assert (dataset[0].label_map == labels).all()


def test_a_palette_for_too_many_classes_is_refused(tmp_path):
    names = tuple(f"class {number}" for number in range(300))
    with pytest.raises(ValueError, match="300 classes; expected 254 at most"):
        written(tmp_path, "voc", {"many": np.zeros((4, 4), np.uint16)}, names)


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="labelme"):
        known_format("lableme")


def test_background_is_what_no_region_covers(tmp_path):
    labels = np.full((6, 8), IGNORE_INDEX, np.uint16)
    labels[1:3, 1:4] = 1
    dataset = FolderDataset(written(tmp_path, "cvat", {"a": labels}, ("Background", "cat")))
    assert (dataset[0].label_map == np.where(labels == 1, 1, 0)).all()
    assert not dataset.notes


def test_an_image_elsewhere_in_the_folder_is_found_and_a_missing_one_is_named(tmp_path):
    out = written(tmp_path, "coco")
    (out.parent / "train2017").mkdir()
    (out.parent / "images" / "nested.png").rename(out.parent / "train2017" / "nested.png")
    (out.parent / "images" / "empty.png").unlink()
    dataset = FolderDataset(out.parent)
    assert dataset.stems == ["deep/speckled", "nested"]
    assert "1 image that is not there (empty.png)" in dataset.notes[0]


def test_splits_of_a_format_are_splits_of_the_data_set(tmp_path):
    out = written(tmp_path, "yolo")
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (out / kind / split).mkdir()
    for stem, split in (("nested", "train"), ("empty", "val")):
        (out / "images" / f"{stem}.png").rename(out / "images" / split / f"{stem}.png")
        (out / "labels" / f"{stem}.txt").rename(out / "labels" / split / f"{stem}.txt")
    text = (out / "data.yaml").read_text()
    (out / "data.yaml").write_text(
        text.replace("train: images", "train: images/train").replace("val: images", "val: images/val")
    )
    assert FolderDataset(out, "val").stems == ["images/val/empty"]
    assert FolderDataset(out).stems == ["images/train/nested", "images/val/empty"]
    assert split_to_score(out) == "val"


def test_the_table_counts_every_pixel(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(written(tmp_path, "table")).to_pylist()
    by_image = {stem: [row for row in rows if row["image"] == stem] for stem in label_maps()}
    for stem, labels in label_maps().items():
        found = {row["label"]: row["pixels"] for row in by_image[stem]}
        assert found == {
            label if label != IGNORE_INDEX else None: count if label != IGNORE_INDEX else None
            for label, count in zip(
                *(each.tolist() for each in np.unique(labels, return_counts=True)), strict=True
            )
            if label != IGNORE_INDEX or (labels == IGNORE_INDEX).all()
        }
    assert by_image["nested"][0]["class"] == "cat"
    assert by_image["nested"][0]["score"] == 0.5
    assert by_image["empty"][0]["class"] is None


def painted_by_labelme(file, size):
    """Paint polygons as LabelMe 6 does: Pillow rounds points down, and draws the outline too."""
    content = json.loads(file.read_text())
    labels = np.full(size, IGNORE_INDEX, np.uint16)
    for shape in content["shapes"]:
        mask = Image.new("L", size[::-1])
        ImageDraw.Draw(mask).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
        labels[np.asarray(mask) > 0] = NAMES.index(shape["label"])
    return labels


def test_polygons_of_labelme_are_exact_as_labelme_paints_them(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.choice(np.array([0, 1, 2, IGNORE_INDEX], np.uint16), (23, 31), p=(0.7, 0.1, 0.1, 0.1))
    rows, columns = np.indices((60, 80))
    rings = (np.hypot(rows - 31, columns - 37) // 7 % 5).astype(np.uint16)
    rings[rings == 4] = IGNORE_INDEX
    out = written(tmp_path, "labelme", {**label_maps(), "noise": noise, "rings": rings})
    for stem, labels in {**label_maps(), "noise": noise, "rings": rings}.items():
        found = painted_by_labelme(next(out.rglob(f"{stem}.json")), labels.shape)
        is_known = labels != IGNORE_INDEX
        assert np.array_equal(found[is_known], labels[is_known]), stem
        assert stem == "noise" or (found == labels).mean() > 0.99, "void within a region"
