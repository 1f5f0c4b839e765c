"""Cityscapes: 19 classes of street scenes, fine labels.

The download holds ``_labelIds`` (0 to 33); ``_labelTrainIds`` (0 to 18, 255) are made from it by the
official tool. Both are read; the train ids are preferred.
"""

from lexiseg.data.class_lists import from_package
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import TOP, LabelMapping, identity
from lexiseg.data.published.layouts import Layout

#: Id of each of the 19 classes, in label order.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

_IMAGES = "leftImg8bit/{folder}/{stem}_leftImg8bit.png"

_TREE = """\
cityscapes/
  leftImg8bit/{train,val}/CITY/*_leftImg8bit.png
  gtFine/{train,val}/CITY/*_gtFine_labelTrainIds.png   0 to 18, 255; made by the official tool
or
  gtFine/{train,val}/CITY/*_gtFine_labelIds.png        0 to 33, as downloaded"""


def _hint(values: list[int]) -> str:
    if all(18 < value < 34 for value in values):
        return (
            "Values from 19 to 33 are label ids (_labelIds), not train ids. Run the official"
            " createTrainIdLabelImgs, or convert: lexiseg datasets convert cityscapes19 FOLDER"
            " --from labelIds --to labelTrainIds --out …"
        )
    return "Make the train ids again with the official createTrainIdLabelImgs."


CITYSCAPES19 = DatasetFacts(
    name="cityscapes19",
    title="Cityscapes, fine labels, 19 classes",
    num_classes=19,
    background="none",
    splits={"train": (2975,), "val": (500,)},
    default_split="val",
    tree=_TREE,
    rule="_labelTrainIds: 0 to 18, 255 void; _labelIds: the 19 ids in ascending order, all others void",
    licence="for non-commercial use (Cityscapes terms of use)",
    source="https://www.cityscapes-dataset.com (leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip)",
    layouts=(
        Layout(
            name="labelTrainIds",
            images=_IMAGES,
            labels="gtFine/{folder}/{stem}_gtFine_labelTrainIds.png",
            mapping=identity(19),
            hint=_hint,
            expected_values=frozenset({0}),
            missing_value_hint="no pixel of road (0) at all: zero was probably reduced; Cityscapes is read as it is",
            highest_label=18,
        ),
        Layout(
            name="labelIds",
            images=_IMAGES,
            labels="gtFine/{folder}/{stem}_gtFine_labelIds.png",
            mapping=LabelMapping(
                {value: label for label, value in enumerate(LABEL_IDS)},
                frozenset({*range(34), TOP}) - set(LABEL_IDS),
            ),
            hint=lambda values: "Label ids are 0 to 33. Use gtFine as it was published.",
        ),
    ),
    read_vocabulary=from_package("cityscapes19"),
    category_ids=LABEL_IDS,
    roots=("", "cityscapes"),
)
