import json

import numpy as np
from pycocotools import mask as coco_mask

from lexiseg.scoring.store.export import export_coco
from written_stores import image_of, make_store


def test_exported_masks_are_those_of_pycocotools_and_decode_to_the_label_map(tmp_path):
    generator = np.random.default_rng(0)
    maps = {"000042": generator.integers(0, 3, (13, 17)), "night": np.full((5, 4), 65535)}
    maps["000042"][:4] = 65535
    store = make_store(
        tmp_path / "s", ("a", "b", "c"), [image_of(stem, None, rows) for stem, rows in maps.items()]
    )
    assert export_coco(store, tmp_path / "masks.json") == 3
    found = json.loads((tmp_path / "masks.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in found] == [(42, 0), (42, 1), (42, 2)]
    for entry in found:
        mask = np.asfortranarray(maps["000042"] == entry["category_id"]).astype(np.uint8)
        assert entry["segmentation"]["counts"] == coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
        assert np.array_equal(coco_mask.decode(entry["segmentation"]), mask)


def test_a_store_without_a_mask_is_an_empty_list(tmp_path):
    store = make_store(tmp_path / "s", ("a",), [image_of("x", None, [[65535]])])
    assert export_coco(store, tmp_path / "masks.json") == 0
    assert json.loads((tmp_path / "masks.json").read_text()) == []
