"""Files of other tools that are malformed: refused by name, or skipped, counted and named; never silent."""

import json

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.data.folder import FolderDataset

GOOD = [1, 1, 6, 1, 6, 5, 1, 5]
FAR = [0, 0, 1e12, 0, 1e12, 1e12]


def coco(segmentation, category=1):
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [GOOD]},
            {"id": 2, "image_id": 1, "category_id": category, "segmentation": segmentation},
        ],
    }


def labelme(shape):
    good = {"label": "dog", "shape_type": "polygon", "points": np.reshape(GOOD, (-1, 2)).tolist()}
    return {"imagePath": "a.png", "imageHeight": 8, "imageWidth": 10, "shapes": [good, shape]}


def label_studio(result):
    points = (np.reshape(GOOD, (-1, 2)) * (100 / 10, 100 / 8)).tolist()
    sizes = {"original_width": 10, "original_height": 8}
    good = {"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["dog"]}, **sizes}
    return [
        {
            "data": {"image": "/data/upload/1/0a1b2c3d-a.png"},
            "annotations": [{"result": [good, {**sizes, **result}]}],
        }
    ]


def cvat(shape):
    points = ";".join(f"{x},{y}" for x, y in np.reshape(GOOD, (-1, 2)))
    return (
        f'<annotations><image name="a.png" width="10" height="8"><polygon label="dog" points="{points}"/>'
        f"{shape}</image></annotations>"
    )


SKIPPED = {
    "coco, unknown category": ("a.json", coco([GOOD], 99), "region of an unknown category"),
    "coco, a box": ("a.json", coco([]), "box without a mask"),
    "coco, not numbers": ("a.json", coco([["x", 1, 2, 3, 4, 5]]), "no list of numbers"),
    "coco, nan": ("a.json", coco([[float("nan"), 1, 2, 3, 4, 5]]), "coordinates that are no numbers"),
    "coco, odd": ("a.json", coco([[0, 1, 2, 3, 4, 5, 6]]), "odd number of coordinates"),
    "coco, two points": ("a.json", coco([[0, 1, 2, 3]]), "fewer than three points"),
    "coco, far away": ("a.json", coco([FAR]), "far outside its image"),
    "coco, lying runs": ("a.json", coco({"size": [8, 10], "counts": [1 << 40]}), "damaged run lengths"),
    "coco, lying size": ("a.json", coco({"size": [1 << 20, 1 << 20], "counts": "0"}), "mask with a mask of"),
    "coco, other size": ("a.json", coco({"size": [4, 5], "counts": [20]}), "another size than its image"),
    "coco, damaged string": ("a.json", coco({"size": [8, 10], "counts": "~~"}), "damaged counts string"),
    "labelme, a line": ("a.json", labelme({"label": "cat", "shape_type": "line", "points": [[0, 0], [3, 3]]}), "no area"),
    "labelme, no points": ("a.json", labelme({"label": "cat"}), "shape without points"),
    "labelme, text": ("a.json", labelme({"label": "cat", "points": [["a", "b"]]}), "no list of numbers"),
    "labelme, damaged mask": (
        "a.json",
        labelme({"label": "cat", "shape_type": "mask", "points": [[0, 0], [3, 3]], "mask": "bm9wZQ=="}),
        "mask that is no PNG",
    ),
    "label studio, keypoints": (
        "a.json", label_studio({"type": "keypointlabels", "value": {"x": 1}}), "result of type keypointlabels",
    ),
    "label studio, damaged brush": (
        "a.json", label_studio({"type": "brushlabels", "value": {"brushlabels": ["cat"], "rle": [1, 2, 3]}}), "brush mask",
    ),
    "label studio, no points": (
        "a.json", label_studio({"type": "polygonlabels", "value": {"polygonlabels": ["cat"]}}), "no list of numbers",
    ),
    "cvat, points": ("a.xml", cvat('<points label="cat" points="1,2"/>'), "points, which has no area"),
    "cvat, text": ("a.xml", cvat('<polygon label="cat" points="a,b;c,d"/>'), "no list of numbers"),
    "cvat, lying mask": (
        "a.xml", cvat('<mask label="cat" rle="99999999999" left="0" top="0" width="3" height="3"/>'), "damaged run lengths",
    ),
    "cvat, unknown": ("a.xml", cvat('<blob label="cat"/>'), "which is not known"),
}  # fmt: skip


def opened(tmp_path, name, content):
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return FolderDataset(path)


@pytest.mark.parametrize(("name", "content", "why"), SKIPPED.values(), ids=SKIPPED)
def test_a_region_that_cannot_be_used_is_counted_and_the_others_stay(tmp_path, name, content, why):
    dataset = opened(tmp_path, name, content)
    assert why in dataset.notes[0]
    expected = np.zeros((8, 10), bool)
    expected[1:5, 1:6] = True
    label_map = dataset[0].label_map
    assert ((label_map == dataset.vocabulary.names.index("dog")) == expected).all()
    assert (label_map[~expected] == 65535).all()


YOLO_SKIPPED = {
    "a box": ("0 0.5 0.5 0.2 0.2", "box without a mask"),
    "unknown class": ("9 0.1 0.1 0.6 0.1 0.6 0.6", "unknown class"),
    "text": ("0 a b c d e f", "no list of numbers"),
    "odd": ("0 0.1 0.1 0.6 0.1 0.6", "odd number"),
}


@pytest.mark.parametrize(("line", "why"), YOLO_SKIPPED.values(), ids=YOLO_SKIPPED)
def test_lines_of_yolo_that_cannot_be_used_are_counted(tmp_path, line, why):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text(f"1 0.1 0.125 0.6 0.125 0.6 0.625 0.1 0.625\n{line}\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    dataset = FolderDataset(tmp_path)
    assert why in dataset.notes[0]
    assert (dataset[0].label_map == 1).sum() == 20


REFUSED = {
    "no JSON": ("a.json", "{", "no usable JSON"),
    "nested JSON": ("a.json", "[" * 5000, "no usable JSON"),
    "results": ("a.json", [{"image_id": 1}], "a list, as results have it"),
    "JSON of something else": ("a.json", {"a": 1}, "JSON without these lists"),
    "category twice": (
        "a.json", {**coco([GOOD]), "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "numbers twice",
    ),
    "names that differ by case": (
        "a.json", {**coco([GOOD]), "categories": [{"id": 1, "name": "Cat"}, {"id": 7, "name": "cat"}]}, "already class 0",
    ),
    "a path that leaves the folder": (
        "a.json", {**coco([GOOD]), "images": [{"id": 1, "file_name": "../a.png", "height": 8, "width": 10}]},
        "path that leaves the folder",
    ),
    "no XML": ("a.xml", "<annotations>", "no usable XML"),
    "entities that grow": (
        "a.xml",
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
        + "]><annotations><image name='&j;'/></annotations>",
        "no usable XML",
    ),
    "other XML": ("a.xml", "<annotation/>", "<annotation> with 0 images"),
    "YAML that makes objects": ("data.yaml", "!!python/object/apply:os.getcwd []", "no usable YAML"),
    "YAML without names": ("data.yaml", "train: images", "names of type NoneType"),
    "YAML that leaves the folder": ("data.yaml", "train: /etc\nnames: [cat]", "an absolute path"),
    "another suffix": ("a.csv", "a,b", "found a file"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "why"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, name, content, why):
    with pytest.raises(ValueError, match=why) as caught:
        opened(tmp_path, name, content)
    assert isinstance(caught.value, DatasetError) or "class" in why


def test_several_files_in_a_folder_are_named(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in ("instances_train.json", "instances_val.json"):
        (tmp_path / "annotations" / name).write_text(json.dumps(coco([GOOD])))
    with pytest.raises(DatasetError, match=r"2 annotation files: instances_train\.json, instances_val\.json"):
        FolderDataset(tmp_path)


def test_ten_thousand_points_and_crossing_lines_are_filled(tmp_path):
    rng = np.random.default_rng(0)
    many = rng.uniform(0, 8, 20_000).tolist()
    dataset = opened(tmp_path, "a.json", coco([many]))
    assert set(np.unique(dataset[0].label_map).tolist()) <= {0, 1, 65535}
