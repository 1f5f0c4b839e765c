"""COCO files as pycocotools reads them: ids, categories, scores and the measure itself."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from lexiseg.core.errors import InputError
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import CocoCategories, number_images, write_coco

WORDS = Vocabulary(names=("a", "b", "c"))
CATEGORIES = CocoCategories(names=WORDS.names, ids=(0, 1, 2))


def noise() -> np.ndarray:
    labels = np.random.default_rng(0).integers(0, 3, (13, 17)).astype(np.uint16)
    labels[:4] = 65535
    return labels


def image(number: int, labels: np.ndarray, scores: dict[int, float] | None = None) -> LabelledImage:
    return LabelledImage(
        stem=str(number), id=number, file_name=f"{number}.png", label_map=labels, scores=scores or {}
    )


def test_written_masks_are_those_of_pycocotools_and_decode_to_the_label_map(tmp_path):
    labels = noise()
    images = [image(42, labels, {1: 0.5}), image(7, np.full((5, 4), 65535, np.uint16))]
    assert write_coco(images, CATEGORIES, tmp_path / "masks.json") == 3
    found = json.loads((tmp_path / "masks.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [(42, 0), (42, 1), (42, 2)]
    assert [entry.get("score") for entry in found] == [None, 0.5, None]
    for entry in found:
        mask = np.asfortranarray(labels == entry["category_id"]).astype(np.uint8)
        encoded = coco_mask.encode(mask)
        assert entry["segmentation"]["counts"] == encoded["counts"].decode()
        assert np.array_equal(coco_mask.decode(entry["segmentation"]), mask)
        assert entry["area"] == coco_mask.area(encoded)
        assert entry["bbox"] == coco_mask.toBbox(encoded).tolist()
        assert entry["category_name"] == WORDS.names[entry["category_id"]]


def test_a_segmentation_gives_the_same_annotations_with_scores(tmp_path):
    labels = noise()
    scores = np.random.default_rng(1).random(labels.shape).astype(np.float32)
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    one = Segmentation(label_map=labels, score_map=scores, vocabulary=WORDS, image=pixels)
    ours = sorted(one.to_coco_rle(), key=lambda entry: entry["category_id"])
    given = {entry["category_id"]: entry["score"] for entry in ours}
    write_coco([image(3, labels, given)], CATEGORIES, tmp_path / "masks.json")
    written = json.loads((tmp_path / "masks.json").read_text())
    assert [{**entry, "image_id": 3} for entry in ours] == written


def test_no_mask_is_an_empty_list_and_a_label_without_a_name_is_refused(tmp_path):
    void = image(1, np.full((1, 1), 65535, np.uint16))
    assert write_coco([void], CATEGORIES, tmp_path / "masks.json") == 0
    assert json.loads((tmp_path / "masks.json").read_text()) == []
    with pytest.raises(InputError, match="found label 3; expected labels 0 to 2"):
        write_coco([image(1, np.full((1, 1), 3, np.uint16))], CATEGORIES, tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()


def test_a_data_set_lists_its_images_and_categories_and_opens_in_pycocotools(tmp_path, capsys):
    labels = noise()
    categories = CocoCategories(names=WORDS.names, ids=(None, 92, 90))
    void = image(8, np.full((5, 4), 65535, np.uint16))
    written = write_coco([image(7, labels), void], categories, tmp_path / "set.json", layout="dataset")
    assert written == 2
    opened = COCO(tmp_path / "set.json")
    assert opened.loadImgs([8])[0] == {"id": 8, "file_name": "8.png", "height": 5, "width": 4}
    assert [(each["id"], each["name"]) for each in opened.loadCats(opened.getCatIds())] == [
        (92, "b"),
        (90, "c"),
    ]
    for annotation in opened.loadAnns(opened.getAnnIds([7])):
        assert annotation["iscrowd"] == 0
        label = {92: 1, 90: 2}[annotation["category_id"]]
        assert np.array_equal(opened.annToMask(annotation), labels == label)


def test_an_empty_data_set_is_whole_json(tmp_path):
    assert write_coco([], CATEGORIES, tmp_path / "set.json", layout="dataset") == 0
    assert json.loads((tmp_path / "set.json").read_text())["annotations"] == []


@pytest.mark.parametrize(
    ("stems", "numbers"),
    [
        (["000000000139", "000000000285"], [139, 285]),
        (["0", "1", "2"], [0, 1, 2]),
        (["1", "01"], [1, 2]),
        (["01", "1", "3"], [1, 2, 3]),
        (["2", "a"], [1, 2]),
        (["night/1", "day/1"], [1, 2]),
        (["²", "٣"], [1, 2]),  # digits to Python, but not the numbers of anyone's file
        ([], []),
    ],
)
def test_every_image_has_a_number_of_its_own(stems, numbers):
    assert list(number_images(stems).values()) == numbers
