"""COCO-Stuff 10k (171 classes): 9,000 training and 1,000 test images of COCO train2014.

Two versions of the .mat files are about, with the same names: 1.0 holds 1 = void and classes from 2;
1.1 holds the official ids, 0 = void. One read as the other shifts every class and still runs. They are
told apart by their list of names (172 or 182). Where there is no such list, HDF5 files (MATLAB 7.3) are
taken for 1.0 and older ones for 1.1; values that the version does not know are an error.
"""

import functools
from pathlib import Path

from lexiseg.core.errors import DatasetError
from lexiseg.data.class_lists import from_package
from lexiseg.data.published.coco import CATEGORY_IDS, STUFF_VALUES
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import LabelMapping, identity, shifted
from lexiseg.data.published.layouts import Layout
from lexiseg.data.published.matlab_files import count_names, is_hdf5

_NAMES_IN_VERSION_1_0 = 172
_NAMES_IN_VERSION_1_1 = 182
_IMAGES, _MATS, _LISTS = "images/{stem}.jpg", "annotations/{stem}.mat", "imageLists/{folder}.txt"
_FOLDERS_2014 = {"train": "train2014", "test": "test2014"}

_TREE = """\
cocostuff-10k/
  images/*.jpg
  annotations/*.mat                           as published, version 1.0 or 1.1
  imageLists/{train,test}.txt
or
coco_stuff10k/
  images/{train2014,test2014}/*.jpg
  annotations/{train2014,test2014}/*_labelTrainIds.png       0 = void, 1 to 171
or
coco_stuff_10k/
  images_detectron2/{train,test}/*.jpg
  annotations_detectron2/{train,test}/*.png                  0 to 170, 255"""


@functools.lru_cache(maxsize=16384)
def version_of(path: Path) -> str:
    """Return the version of a .mat file: ``1.0`` or ``1.1``.

    Raises:
        DatasetError: The file cannot be read, or has another number of names.
    """
    names = count_names(path)
    if names is None:
        return "1.0" if is_hdf5(path) else "1.1"
    if names not in (_NAMES_IN_VERSION_1_0, _NAMES_IN_VERSION_1_1):
        raise DatasetError(
            doing=f"reading the label file {path}",
            found=f"a list of {names} names",
            expected="172 (version 1.0) or 182 (version 1.1)",
            fix="Use the files of COCO-Stuff 10k as they were published.",
        )
    return "1.0" if names == _NAMES_IN_VERSION_1_0 else "1.1"


def _is_1_0(path: Path) -> bool:
    return version_of(path) == "1.0"


def _is_1_1(path: Path) -> bool:
    return version_of(path) == "1.1"


def _hint_1_0(values: list[int]) -> str:
    if 0 in values or max(values) > _NAMES_IN_VERSION_1_0:
        return (
            "Version 1.0 has neither 0 nor values above 172: these are files of version 1.1."
            " Do not mix versions; use one download."
        )
    return "Use the files of version 1.0 as they were published."


def _hint_1_1(values: list[int]) -> str:
    return (
        f"Official ids never hold {', '.join(map(str, values[:5]))} (ids without masks): these are files of"
        " version 1.0 (1 = void, classes from 2). Do not mix versions; use one download."
    )


def _hint_png(values: list[int]) -> str:
    return (
        "255 in files that have 0 for void: these hold 0 to 170 and 255, as detectron2 takes them; with"
        " reduce_zero_label every class would shift by one. Move them to annotations_detectron2/, or convert again."
    )


def _hint_detectron2(values: list[int]) -> str:
    return (
        "171 in files of 0 to 170: these hold 1 to 171 with 0 for void, as mmsegmentation takes them; every"
        " class would shift by one. Name them annotations/test2014/*_labelTrainIds.png, or convert again."
    )


STUFF10K = DatasetFacts(
    name="coco-stuff10k",
    title="COCO-Stuff 10k, 80 things and 91 stuff classes",
    num_classes=171,
    background="none",
    splits={"train": (9000,), "test": (1000,)},
    default_split="test",
    tree=_TREE,
    rule=".mat 1.0, variable S (transposed in HDF5): 1 void, 2 to 172 become 0 to 170; .mat 1.1: 0 void, official"
    " ids without gaps become 0 to 170; _labelTrainIds.png: 0 void, 1 to 171 become 0 to 170",
    licence="images: Flickr terms of use (each its own licence); labels: CC BY 4.0",
    source="https://github.com/nightrome/cocostuff10k (cocostuff-10k-v1.1.zip)",
    layouts=(
        Layout(
            name="labelTrainIds", images="images/{folder}/{stem}.jpg",
            labels="annotations/{folder}/{stem}_labelTrainIds.png", folders=_FOLDERS_2014,
            mapping=shifted(171, void=(0,)), hint=_hint_png, expected_values=frozenset({0}),
            missing_value_hint="no void pixel (0) at all: the files were probably made from .mat of the other version,"
            " where 1 is void; convert again",
        ),
        Layout(
            name="detectron2", images="images_detectron2/{folder}/{stem}.jpg",
            labels="annotations_detectron2/{folder}/{stem}.png", mapping=identity(171), hint=_hint_detectron2,
        ),
        Layout(
            name="mat-1.1", images=_IMAGES, labels=_MATS, lists=_LISTS, encoding="matlab:S", applies=_is_1_1, hint=_hint_1_1,
            mapping=LabelMapping({value + 1: label for label, value in enumerate(STUFF_VALUES)}, frozenset({0})),
        ),
        Layout(
            name="mat-1.0", images=_IMAGES, labels=_MATS, lists=_LISTS, encoding="matlab:S", applies=_is_1_0, hint=_hint_1_0,
            mapping=LabelMapping({label + 2: label for label in range(171)}, frozenset({1})),
        ),
    ),
    read_vocabulary=from_package("coco_stuff171"),
    category_ids=CATEGORY_IDS,
    roots=("", "coco_stuff_10k", "coco_stuff10k", "dataset"),
)  # fmt: skip
