"""PASCAL VOC 2012 segmentation: 21 classes with background, or 20 with background left out of scoring.

Label files are palette PNGs of indices: 0 background, 1 to 20 in alphabetical order of the official
names, 255 for the borders of objects. SBD labels 9,118 more training images ("aug"); with VOC's own they
are the 10,582 of "trainaug".
"""

from typing import Any

from lexiseg.data.class_lists import from_package
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import LabelMapping, identity, shifted
from lexiseg.data.published.layouts import Layout

_LISTS = "ImageSets/Segmentation/{folder}.txt"

_TREE = """\
VOCdevkit/VOC2012/
  JPEGImages/*.jpg
  SegmentationClass/*.png                     train, val
  SegmentationClassAug/*.png                  aug, trainaug
  ImageSets/Segmentation/{train,val,aug,trainaug}.txt
VOCdevkit/VOCaug/dataset/cls/*.mat            or these (SBD) for aug"""

_LICENCE = "images: Flickr terms of use; labels: no licence stated, made for research"
_SOURCE = (
    "https://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar);"
    " trainaug: SBD, https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
)


def _hint(values: list[int]) -> str:
    if values == [254]:
        return "254 is 255 less one: zero was reduced by a bare subtraction. Use the original files."
    return (
        "Values above 20 that are not 255 come from resizing with interpolation or from a palette applied:"
        " use the original palette PNGs."
    )


def _layouts(mapping: LabelMapping) -> tuple[Layout, ...]:
    images = "JPEGImages/{stem}.jpg"
    whole: dict[str, Any] = {
        "expected_values": frozenset({0}),
        "missing_value_hint": "no background pixel at all: zero was probably reduced already; use the original files",
        "highest_label": 20,
    }
    aug = frozenset({"aug", "trainaug"})
    return (
        Layout(
            name="SegmentationClass", images=images, labels="SegmentationClass/{stem}.png", lists=_LISTS,
            splits=frozenset({"train", "val"}), mapping=mapping, hint=_hint, **whole,
        ),
        Layout(
            name="SegmentationClassAug", images=images, labels="SegmentationClassAug/{stem}.png",
            lists=_LISTS, mapping=mapping, hint=_hint, **whole,
        ),
        Layout(
            name="VOCaug", images=images, labels="../VOCaug/dataset/cls/{stem}.mat", encoding="matlab:GTcls",
            lists=_LISTS, splits=aug, mapping=mapping, hint=_hint, **whole,
        ),
    )  # fmt: skip


_SPLITS = {"train": (1464,), "val": (1449,), "aug": (9118,), "trainaug": (10582,)}
_ROOTS = ("", "VOC2012", "VOCdevkit/VOC2012")

VOC21 = DatasetFacts(
    name="voc21",
    title="PASCAL VOC 2012, 20 classes and background",
    num_classes=21,
    background="class 0, scored",
    splits=_SPLITS,
    default_split="val",
    tree=_TREE,
    rule="palette PNG, read the index: 0 background, 1 to 20 classes, 255 void",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=_layouts(identity(21)),
    read_vocabulary=from_package("voc21"),
    roots=_ROOTS,
)

VOC20 = DatasetFacts(
    name="voc20",
    title="PASCAL VOC 2012, 20 classes, background not scored",
    num_classes=20,
    background="void: what is painted over it costs nothing",
    splits=_SPLITS,
    default_split="val",
    tree=_TREE,
    rule="palette PNG, read the index: 1 to 20 become 0 to 19; 0 and 255 are void",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=_layouts(shifted(20)),
    read_vocabulary=from_package("voc20"),
    roots=_ROOTS,
)
