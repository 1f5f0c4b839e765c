import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lexiseg.core.errors import InputError
from lexiseg.core.segmentation import Segmentation
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.formats.coco import write_coco

WORDS = Vocabulary(names=("a", "b", "c"))


def noise() -> np.ndarray:
    labels = np.random.default_rng(0).integers(0, 3, (13, 17)).astype(np.uint16)
    labels[:4] = 65535
    return labels


def test_written_masks_are_those_of_pycocotools_and_decode_to_the_label_map(tmp_path):
    labels = noise()
    images = [("000042", labels, WORDS), ("night", np.full((5, 4), 65535, np.uint16), WORDS)]
    assert write_coco(images, tmp_path / "masks.json") == 3
    found = json.loads((tmp_path / "masks.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [(42, 0), (42, 1), (42, 2)]
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
    image = np.zeros((*labels.shape, 3), np.uint8)
    one = Segmentation(label_map=labels, score_map=scores, vocabulary=WORDS, image=image)
    write_coco([("x", labels, WORDS)], tmp_path / "masks.json")
    written = json.loads((tmp_path / "masks.json").read_text())
    ours = sorted(one.to_coco_rle(), key=lambda entry: entry["category_id"])
    assert [{**entry, "image_id": "x"} for entry in ours] == [
        {**entry, "score": mine["score"]} for entry, mine in zip(written, ours, strict=True)
    ]


def test_no_mask_is_an_empty_list_and_a_label_without_a_name_is_refused(tmp_path):
    assert write_coco([("x", np.full((1, 1), 65535, np.uint16), WORDS)], tmp_path / "masks.json") == 0
    assert json.loads((tmp_path / "masks.json").read_text()) == []
    with pytest.raises(InputError, match="found label 3; expected labels 0 to 2"):
        write_coco([("x", np.full((1, 1), 3, np.uint16), WORDS)], tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()
