"""What a folder holds, in whatever layout it lies there, and which lists it lacks."""

import json
import shutil

import pytest

from lexiseg.core.errors import DatasetError
from lexiseg.data.inventory import take_inventory
from lexiseg.runs.regimes import advise
from lexiseg.runs.split_files import propose_splits, write_lists
from sky_and_grass import write_folder


def as_coco(folder):
    """Turn the labels into a COCO file of boxes as polygons, beside the images."""
    images = [{"id": n, "file_name": f"{n:02}.png", "width": 96, "height": 64} for n in range(14)]
    region = {"category_id": 1, "iscrowd": 0, "segmentation": [[0, 0, 96, 0, 96, 32, 0, 32]]}
    annotations = [{**region, "id": n + 1, "image_id": n} for n in range(12)]
    shutil.rmtree(folder / "labels")
    (folder / "classes.txt").unlink()
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "sky"}]}
    (folder / "instances.json").write_text(json.dumps(content))


def images_alone(folder):
    shutil.rmtree(folder / "labels")
    (folder / "classes.txt").unlink()


def captions_alone(folder):
    images_alone(folder)
    (folder / "captions.tsv").write_text("00\ta sky\n01\ta cat\n")


def shards(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "00000.tar").write_bytes(b"")


#: How a folder is changed, what it is then, and the first word of the first command after lexiseg.
KINDS = {
    "own": (lambda folder: None, "folder", "fit"),
    "coco": (as_coco, "coco", "fit"),
    "images": (images_alone, "images", "segment"),
    "captions": (captions_alone, "captions", "captions"),
    "shards": (shards, "captions", "captions"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_layout_is_known_and_has_a_first_command(tmp_path, kind):
    change, name, command = KINDS[kind]
    folder = write_folder(tmp_path / "mydata", num=14, num_masks=12)
    change(folder)
    found = take_inventory(folder)
    assert found.kind == name
    assert advise(found, has_val=False).best.commands[0].split()[1] == command
    if found.is_folder:
        assert len(found.images) == 14
        assert len(found.labelled) >= 12


def test_classes_with_masks_are_counted_and_the_lists_that_lack_are_proposed(tmp_path):
    folder = write_folder(tmp_path / "mydata", num=14, num_masks=12, seen=("sky", "grass"))
    (folder / "seen.txt").unlink()
    found = take_inventory(folder)
    assert found.shown == {0: 8, 1: 12}
    assert found.unmasked_classes == {2}
    lists = propose_splits(found)
    assert lists["seen.txt"] == ["sky", "grass"]
    assert len(lists["val.txt"]) == 3
    assert not set(lists["val.txt"]) & set(lists["train.txt"])
    assert set(lists["val.txt"]) <= set(found.labelled)
    (folder / "val.txt").write_text("00\n")
    assert folder / "val.txt" not in write_lists(folder, lists), "what is there stays"
    assert (folder / "val.txt").read_text() == "00\n"
    assert "seen.txt" not in propose_splits(take_inventory(folder))


def test_a_folder_without_anything_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"no image in.*lexiseg datasets"):
        take_inventory(tmp_path)
