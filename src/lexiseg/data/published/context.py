"""PASCAL Context (VOC 2010 images): 59 classes, 60 with "everything else" scored, or all 459.

The 59 are the frequent ones of the 459; index 0 of the 60 means none of the 59. Many of the 459 never
occur in val, so the way of averaging moves the mean by points.
"""

from pathlib import Path

from lexiseg.core.errors import VocabularyError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import from_package
from lexiseg.data.folder_lists import folder_error, read_lines
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import TOP, LabelMapping, identity, shifted
from lexiseg.data.published.layouts import Layout

#: Ids of the 59 among the 459, ascending, with 0 for everything else in front: index = place.
CONTEXT60_IDS = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115,
    144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349,
    354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip

_LISTS = "ImageSets/SegmentationContext/{folder}.txt"
_IMAGES = "JPEGImages/{stem}.jpg"
_EXPECTED_VALUES = frozenset({0})

_TREE = """\
VOCdevkit/VOC2010/
  JPEGImages/*.jpg
  SegmentationClassContext/*.png              0 to 59, made from the json
  ImageSets/SegmentationContext/{train,val}.txt
  trainval_merged.json                        or this alone; it is read directly
or
pcontext/{train,val}/{image/*.jpg, label/*.png}   0 to 58, 255
VOCdevkit/VOC2010/annotations_detectron2/pc59_{train,val}/*.png   0 to 58, 255"""

_TREE_459 = """\
VOCdevkit/VOC2010/
  JPEGImages/*.jpg
  trainval/*.mat                              variable LabelMap, 1 to 459
  labels.txt                                  "1: accordion", …; comes with the .mat files
  ImageSets/SegmentationContext/{train,val}.txt
or
pcontext_full/{train,val}/{image/*.jpg, label/*.tif}, pcontext_full/labels.txt   16 bits, 0 to 458, 65535
VOCdevkit/VOC2010/annotations_detectron2/pc459_{train,val}/*.tif                 likewise"""

_LICENCE = "images: Flickr terms of use; labels: no licence stated, made for research"
_SOURCE = (
    "images: https://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (VOCtrainval_03-May-2010.tar);"
    " labels (.mat) and labels.txt: https://cs.stanford.edu/~roozbeh/pascal-context/;"
    " trainval_merged.json and the lists: PASCAL in Detail, https://sites.google.com/view/pasd/dataset"
)


def _hint(values: list[int]) -> str:
    if min(values) > 59:
        return (
            "Values above 59 are original ids (0 to 458): the files are Context-459's. Convert them:"
            " lexiseg datasets convert context60 FOLDER --from mat --to SegmentationClassContext --out …"
        )
    return "Use PNGs of 0 to 59 (0 = none of the 59), as made from trainval_merged.json."


def _mappings(*, scored: bool) -> tuple[LabelMapping, LabelMapping, LabelMapping]:
    """Return the codes of 0-to-59 files, of 0-to-58 files, and of original ids."""
    if scored:
        reduced = LabelMapping({**{label - 1: label for label in range(1, 60)}, TOP: 0})
        places = {value: CONTEXT60_IDS.index(value) if value in CONTEXT60_IDS else 0 for value in range(460)}
        return identity(60), reduced, LabelMapping(places)
    kept = {value: place - 1 for place, value in enumerate(CONTEXT60_IDS) if value}
    return shifted(59), identity(59), LabelMapping(kept, frozenset(range(460)) - set(kept))


def _layouts(*, scored: bool) -> tuple[Layout, ...]:
    full, reduced, ids = _mappings(scored=scored)
    return (
        Layout(
            name="SegmentationClassContext", images=_IMAGES, labels="SegmentationClassContext/{stem}.png",
            lists=_LISTS, mapping=full, hint=_hint, expected_values=_EXPECTED_VALUES, highest_label=59,
            missing_value_hint="no pixel of 0 (none of the 59): zero was probably reduced already; those files are 0 to 58",
        ),
        Layout(
            name="pcontext", images="pcontext/{folder}/image/{stem}.jpg",
            labels="pcontext/{folder}/label/{stem}.png", mapping=reduced, hint=_hint, highest_label=58,
        ),
        Layout(
            name="pc59", images=_IMAGES, labels="annotations_detectron2/pc59_{folder}/{stem}.png",
            lists=_LISTS, mapping=reduced, hint=_hint, highest_label=58,
        ),
        Layout(
            name="json", images=_IMAGES, labels="trainval_merged.json", lists=_LISTS, mapping=ids,
            encoding="context-json", hint=_hint,
        ),
        Layout(
            name="mat", images=_IMAGES, labels="trainval/{stem}.mat", lists=_LISTS, mapping=ids,
            encoding="matlab:LabelMap", hint=_hint,
        ),
    )  # fmt: skip


def _hint_459(values: list[int]) -> str:
    if 255 in values:
        return "255 in 16-bit files: void was written as in 8 bits. Convert again from the .mat files."
    return "16-bit files hold original id − 1, with 65535 for 0. Convert again from the .mat files."


def read_context459(root: Path) -> Vocabulary:
    """Read the 459 names from the copy's labels.txt: ``1: accordion`` or one name a line.

    Raises:
        DatasetError: There is no such file, or it has another number of names.
    """
    places = (root / "labels.txt", root / "trainval" / "labels.txt", root / "pcontext_full" / "labels.txt")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise folder_error(
            root,
            "no labels.txt; the 459 names do not come with lexiseg",
            "labels.txt of the published label files, with 459 lines like 1: accordion",
            f"Copy it to {places[0]}. It lies beside the .mat files: {_SOURCE}",
        )
    lines = read_lines(path)
    names = tuple(line.partition(":")[2].strip() if ":" in line else line for line in lines)
    if len(names) != 459:
        found = f"{len(names)} names in {path.name}"
        raise folder_error(root, found, "459, in the order of their ids", "Use labels.txt as published.")
    try:
        return Vocabulary(names=names)
    except VocabularyError as error:
        raise folder_error(root, f"{error.found} in {path.name}", error.expected, error.fix) from error


_SPLITS = {"train": (4998, 4996), "val": (5105, 5104)}
_ROOTS = ("", "VOC2010", "VOCdevkit/VOC2010")

CONTEXT59 = DatasetFacts(
    name="context59",
    title="PASCAL Context, 59 classes, everything else not scored",
    num_classes=59,
    background="void: what is painted over it costs nothing",
    splits=_SPLITS,
    default_split="val",
    tree=_TREE,
    rule="PNG: 1 to 59 become 0 to 58, 0 is void; from ids: the 59 ids in ascending order",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=_layouts(scored=False),
    read_vocabulary=from_package("context59"),
    roots=_ROOTS,
)

CONTEXT60 = DatasetFacts(
    name="context60",
    title="PASCAL Context, 59 classes and everything else",
    num_classes=60,
    background="class 0, scored: everything that is none of the 59",
    splits=_SPLITS,
    default_split="val",
    tree=_TREE,
    rule="PNG: 0 to 59 as they are; from ids: 0 and the 59 ids in ascending order, all other ids are 0",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=_layouts(scored=True),
    read_vocabulary=from_package("context60"),
    roots=_ROOTS,
)

CONTEXT459 = DatasetFacts(
    name="context459",
    title="PASCAL Context, all 459 classes",
    num_classes=459,
    background="void (id 0, unlabelled)",
    splits=_SPLITS,
    default_split="val",
    tree=_TREE_459,
    rule="variable LabelMap: 1 to 459 become 0 to 458, 0 is void; 16-bit TIFF or PNG: 0 to 458, 65535 void",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=(
        Layout(
            name="pcontext_full", images="pcontext_full/{folder}/image/{stem}.jpg",
            labels="pcontext_full/{folder}/label/{stem}.tif", mapping=identity(459), hint=_hint_459,
        ),
        Layout(
            name="pc459", images=_IMAGES, labels="annotations_detectron2/pc459_{folder}/{stem}.tif",
            lists=_LISTS, mapping=identity(459), hint=_hint_459,
        ),
        Layout(
            name="mat", images=_IMAGES, labels="trainval/{stem}.mat", lists=_LISTS,
            mapping=shifted(459, void=(0,)), encoding="matlab:LabelMap",
        ),
    ),
    read_vocabulary=read_context459,
    roots=_ROOTS,
)  # fmt: skip
