"""Files of other tools that were damaged: label maps of known classes, or an error of ours."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.result_files import FACTS
from lexiseg.data.folder import FolderDataset
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import CocoCategories
from lexiseg.data.formats.known_formats import FORMATS
from lexiseg.data.formats.segmented import SegmentedFolder
from mutations import fuzz, mutated_json
from toy_segmenter import ColourSegmenter

pytestmark = pytest.mark.usefixtures("without_type_checker")

NAMES = ("cat", "grass", "sky")
LABELS = np.zeros((9, 12), np.uint16)
LABELS[2:8, 3:11] = 1
LABELS[4:6, 5:8] = IGNORE_INDEX
LABELS[4, 6] = 2

#: Formats that are read again, and those of them that are JSON.
READ = [name for name in FORMATS if name not in ("coco-results", "table")]
JSON = ("coco", "coco-panoptic", "labelme", "label-studio", "label-studio-brush")


def write(folder: Path, name: str) -> tuple[Path, list[Path]]:
    """Write a label map in a format, with its image; return what is opened, and every file that can be damaged."""
    photo = folder / "images/a.png"
    photo.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((*LABELS.shape, 3), np.uint8)).save(photo)
    image = LabelledImage(stem="a", id=1, file_name="a.png", label_map=LABELS, scores={0: 0.5}, source=photo)
    out = folder / "out" / f"data{FORMATS[name].suffix}"
    out.parent.mkdir()
    FORMATS[name].write([image], CocoCategories(names=NAMES, ids=(0, 1, 2)), out)
    place = out.parent if FORMATS[name].suffix else out
    if not (place / "images").exists():
        shutil.copytree(photo.parent, place / "images")
    return out, [
        path for path in sorted(place.rglob("*")) if path.is_file() and "mages" not in path.parent.name
    ]


def read_labels(out: Path) -> list[Any]:
    """Read every label map of what was opened; return the names of the classes and the maps."""
    dataset = FolderDataset(out)
    maps = [dataset.read_label_map(index) for index in range(len(dataset))]
    for each in maps:
        found = np.unique(each)
        assert ((found < len(dataset.vocabulary)) | (found == IGNORE_INDEX)).all(), "a label of no class"
    return [dataset.vocabulary.names, *(each.tolist() for each in maps)]


@pytest.mark.parametrize("name", READ)
def test_files_of_other_tools(tmp_path, name):
    out, files = write(tmp_path, name)
    right = read_labels(out)
    whole = {path.name: path.read_bytes() for path in files}
    places = {path.name: path for path in files}

    def read(data: bytes) -> None:
        for path in files:
            path.write_bytes(whole[path.name])
        file, _, content = data.partition(b"\n")
        path = places.get(file.decode("latin-1"), files[0])
        path.write_bytes(content)
        found = read_labels(out)
        assert path.suffix != ".png" or found == right, "other labels than were written"

    seeds = [f"{file}\n".encode() + content for file, content in whole.items()]
    assert fuzz(f"format-{name}", seeds, read, examples=25) > 1


@pytest.mark.parametrize("name", JSON)
def test_json_of_other_tools(tmp_path, name):
    out, files = write(tmp_path, name)
    (file,) = (path for path in files if path.suffix == ".json")

    def read(content: Any) -> None:
        file.write_text(json.dumps(content))
        read_labels(out)

    seed = json.loads(file.read_text())
    fuzz(f"format-{name}-json", [seed], read, examples=25, mutate=mutated_json)


def test_facts_of_results(tmp_path):
    result = ColourSegmenter().segment(np.full((16, 16, 3), 255, np.uint8), "red, white")
    result.save(tmp_path, "a")
    path = tmp_path / f"a{FACTS}"
    seed = json.loads(path.read_text())

    def read(content: Any) -> None:
        path.write_text(json.dumps(content))
        for image in SegmentedFolder(tmp_path):
            assert image.label_map.shape == (16, 16)

    assert fuzz("result-facts", [seed], read, examples=60, mutate=mutated_json) > 5
