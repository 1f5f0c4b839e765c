"""COCO-Stuff 164k (171 classes) and COCO-Object (80, or 81 with background), both from the same files.

The published PNGs ("stuffthingmaps") hold official id − 1: 0 to 90 things, of which 11 have no masks,
91 to 181 stuff, 255 void. COCO-Object is made from them: everything that is no thing, void as well,
becomes background; it therefore has no void at all.
"""

from lexiseg.data.class_lists import from_package
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import TOP, LabelMapping, identity, shifted
from lexiseg.data.published.layouts import Layout

#: Values of the published PNGs that no pixel has: things without masks (street sign, hat, …).
GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)

#: Published value of each of the 171 classes, in label order.
STUFF_VALUES = tuple(value for value in range(182) if value not in GAPS)

#: Official id of each of the 171 classes: 1 to 90 things, 92 to 182 stuff.
CATEGORY_IDS = tuple(value + 1 for value in STUFF_VALUES)

_NUM_THINGS = 80
_FOLDERS = {"train": "train2017", "val": "val2017"}
_IMAGES = "images/{folder}/{stem}.jpg"
_OTHER_LAYOUTS = ("TrainIds",)

_TREE = """\
coco/
  images/{train2017,val2017}/*.jpg
  annotations/{train2017,val2017}/*.png       as published: 0 to 181 with gaps, 255
or
  annotations/{train2017,val2017}/*SUFFIX     converted
or
  {train2017,val2017}/*.jpg, stuffthingmaps_detectron2/{train2017,val2017}/*.png   0 to 170, 255"""

_LICENCE = "images: Flickr terms of use (each its own licence); labels: CC BY 4.0"
_SOURCE = (
    "images: https://cocodataset.org/#download (train2017.zip, val2017.zip);"
    " labels: https://github.com/nightrome/cocostuff (stuffthingmaps_trainval2017.zip)"
)
_SPLITS = {"train": (118287,), "val": (5000,)}


def _hint_published(values: list[int]) -> str:
    if set(values) <= set(GAPS):
        return (
            f"Published files never hold {', '.join(map(str, values))} (ids without masks), so these were"
            " converted in place to 0 to 170. Give them the ending _labelTrainIds.png, or use the published ones."
        )
    return "Use the published PNGs (0 to 181, 255)."


def _hint_train_ids(values: list[int]) -> str:
    if all(170 < value < 182 for value in values):
        return (
            "Values from 171 to 181 are published ids: these files were renamed, not converted. Remove the"
            " ending _labelTrainIds, or convert them:"
            " lexiseg datasets convert coco-stuff164k FOLDER --from published --to labelTrainIds --out …"
        )
    return "Convert the published PNGs again."


def _hint_object(values: list[int]) -> str:
    return (
        "_instanceTrainIds.png hold 0 to 80 and no void: everything above 90 in the published PNGs, 255 as well,"
        " becomes 0. Convert again: lexiseg datasets convert coco-object81 FOLDER --from published"
        " --to instanceTrainIds --out …"
    )


_NO_PERSON = (
    "no pixel of the first class, person: the files were probably read with reduce_zero_label,"
    " which belongs to COCO-Stuff 10k and turns every class into its neighbour here; convert again"
)
_PUBLISHED_STUFF = LabelMapping({value: label for label, value in enumerate(STUFF_VALUES)}, frozenset({TOP}))

STUFF164K = DatasetFacts(
    name="coco-stuff164k",
    title="COCO-Stuff 164k, 80 things and 91 stuff classes",
    num_classes=171,
    background="none",
    splits=_SPLITS,
    default_split="val",
    tree=_TREE.replace("SUFFIX", "_labelTrainIds.png"),
    rule="as published: 0 to 181 without the 11 gaps become 0 to 170, 255 void; converted: 0 to 170, 255."
    " Never with reduce_zero_label",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=(
        Layout(
            name="labelTrainIds", images=_IMAGES, labels="annotations/{folder}/{stem}_labelTrainIds.png",
            folders=_FOLDERS, mapping=identity(171), hint=_hint_train_ids,
            expected_values=frozenset({0}), missing_value_hint=_NO_PERSON, highest_label=170,
        ),
        Layout(
            name="published", images=_IMAGES, labels="annotations/{folder}/{stem}.png", folders=_FOLDERS,
            not_stems=_OTHER_LAYOUTS, mapping=_PUBLISHED_STUFF, hint=_hint_published, expected_values=frozenset({0}),
            missing_value_hint=_NO_PERSON, highest_label=STUFF_VALUES[-1],
        ),
        Layout(
            name="detectron2", images="{folder}/{stem}.jpg", labels="stuffthingmaps_detectron2/{folder}/{stem}.png",
            folders=_FOLDERS, mapping=identity(171), hint=_hint_train_ids,
            expected_values=frozenset({0}), missing_value_hint=_NO_PERSON, highest_label=170,
        ),
    ),
    read_vocabulary=from_package("coco_stuff171"),
    roots=("", "coco", "coco_stuff164k"),
    category_ids=CATEGORY_IDS,
)  # fmt: skip


def _object_layouts(*, scored: bool) -> tuple[Layout, ...]:
    first = 1 if scored else 0
    things = {value: label + first for label, value in enumerate(STUFF_VALUES[:_NUM_THINGS])}
    rest = [*range(91, 182), TOP]
    if scored:
        published = LabelMapping({**things, **dict.fromkeys(rest, 0)})
        converted = identity(_NUM_THINGS + 1, void=())
    else:
        published = LabelMapping(things, frozenset(rest))
        converted = shifted(_NUM_THINGS, void=(0,))
    return (
        Layout(
            name="instanceTrainIds", images=_IMAGES, labels="annotations/{folder}/{stem}_instanceTrainIds.png",
            folders=_FOLDERS, mapping=converted, hint=_hint_object, expected_values=frozenset({0}),
            missing_value_hint="no background pixel at all: zero was probably reduced already; convert again",
        ),
        Layout(
            name="published", images=_IMAGES, labels="annotations/{folder}/{stem}.png", folders=_FOLDERS,
            not_stems=_OTHER_LAYOUTS, mapping=published, hint=_hint_published,
            highest_label=STUFF_VALUES[-1],
        ),
    )  # fmt: skip


_OBJECT_TREE = _TREE.replace("SUFFIX", "_instanceTrainIds.png").partition("\nor\n  {train2017")[0]
_OBJECT_ROOTS = ("", "coco", "coco_stuff164k")

OBJECT81 = DatasetFacts(
    name="coco-object81",
    title="COCO-Object, 80 things and background",
    num_classes=81,
    background="class 0, scored: all stuff and all void",
    splits=_SPLITS,
    default_split="val",
    tree=_OBJECT_TREE,
    rule="as published: things in ascending order become 1 to 80, everything above 90 and 255 becomes 0; no void",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=_object_layouts(scored=True),
    read_vocabulary=from_package("coco_object80", "background"),
    roots=_OBJECT_ROOTS,
    category_ids=(None, *CATEGORY_IDS[:_NUM_THINGS]),
)

OBJECT80 = DatasetFacts(
    name="coco-object80",
    title="COCO-Object, 80 things, background not scored",
    num_classes=80,
    background="void: what is painted over it costs nothing",
    splits=_SPLITS,
    default_split="val",
    tree=_OBJECT_TREE,
    rule="as published: things in ascending order become 0 to 79, everything above 90 and 255 is void",
    licence=_LICENCE,
    source=_SOURCE,
    layouts=_object_layouts(scored=False),
    read_vocabulary=from_package("coco_object80"),
    roots=_OBJECT_ROOTS,
    category_ids=CATEGORY_IDS[:_NUM_THINGS],
)
