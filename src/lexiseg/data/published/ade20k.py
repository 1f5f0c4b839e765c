"""ADE20K: the 150 classes of the scene parsing challenge, and the 847 of the full data set.

150: PNG with 0 for other, 1 to 150. 847: 16-bit TIFF with 0 to 846 and 65535, made from the full
release with images and labels shrunk to a short side of 512, so scores are at reduced size.
"""

from pathlib import Path

from lexiseg.core.errors import VocabularyError
from lexiseg.core.vocabulary import Vocabulary, without_names_of_others
from lexiseg.core.whole_numbers import whole_number
from lexiseg.data.class_lists import from_package
from lexiseg.data.folder_lists import folder_error, read_lines
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import LabelMapping, identity, shifted
from lexiseg.data.published.layouts import Layout

_TREE_150 = """\
ADEChallengeData2016/
  images/{training,validation}/*.jpg
  annotations/{training,validation}/*.png     0 = other, 1 to 150
or
  annotations_detectron2/{training,validation}/*.png   0 to 149, 255"""

_TREE_847 = """\
ADE20K_2021_17_01/
  objects847.tsv                              a line a class, in label order: id, tab, name, name, …
  images_detectron2/{training,validation}/*.jpg
  annotations_detectron2/{training,validation}/*.tif   16 bits, 0 to 846, 65535
or
  images/ADE/{training,validation}/SCENE/…/*.jpg, *_seg.png   the release; shrunk when read"""

#: Ids of *_seg.png: any below this may occur, most are none of the 847.
_NUM_IDS = 7000
_NUM_847 = 847
_FOLDERS = {"train": "training", "val": "validation"}


def _hint_150(values: list[int]) -> str:
    if 255 in values or 65535 in values:
        return (
            "255 in files that have 0 for other: zero was reduced already, and reducing it again shifts every"
            " class. Move the files to annotations_detectron2/, or use the published ones."
        )
    return "Values above 150: these are not the files of the 150 classes. Use annotations of ADEChallengeData2016."


def _hint_150_reduced(values: list[int]) -> str:
    return "150 in files of 0 to 149: these still have 0 for other. Move the files to annotations/."


def _hint_847(values: list[int]) -> str:
    if 255 in values:
        return "Convert again from the release, with objects847.tsv of 847 lines."
    return "Values above 846 and below 65535: the table of ids was longer than 847. Convert again."


ADE20K_150 = DatasetFacts(
    name="ade20k-150",
    title="ADE20K scene parsing challenge, 150 classes",
    num_classes=150,
    background="void (0, other)",
    splits={"train": (20210,), "val": (2000,)},
    default_split="val",
    tree=_TREE_150,
    rule="PNG: 1 to 150 become 0 to 149, 0 is void",
    licence="images: for non-commercial research; labels: BSD-3-Clause",
    source="http://sceneparsing.csail.mit.edu (ADEChallengeData2016.zip)",
    layouts=(
        Layout(
            name="annotations", images="images/{folder}/{stem}.jpg", labels="annotations/{folder}/{stem}.png",
            folders=_FOLDERS, mapping=shifted(150, void=(0,)), hint=_hint_150, expected_values=frozenset({0}),
            missing_value_hint="no pixel of 0 (other) at all: zero was probably reduced already; use the published files",
        ),
        Layout(
            name="detectron2", images="images/{folder}/{stem}.jpg",
            labels="annotations_detectron2/{folder}/{stem}.png", folders=_FOLDERS, mapping=identity(150),
            hint=_hint_150_reduced, highest_label=149,
        ),
    ),
    read_vocabulary=from_package("ade20k150"),
    roots=("", "ADEChallengeData2016"),
)  # fmt: skip


def read_objects847(root: Path) -> tuple[Vocabulary, tuple[int, ...]]:
    """Read names and ids of the 847 classes from the copy's objects847.tsv.

    Names that earlier lines took as theirs (two senses of door) give way to the next name of the line.

    Raises:
        DatasetError: There is no such file, or it is not a table of 847 classes.
    """
    path = root / "objects847.tsv"
    if not path.is_file():
        raise folder_error(
            root,
            "no objects847.tsv; the 847 names do not come with lexiseg and are not part of the ADE20K release",
            "a text file of 847 lines in label order: id in the release (2978 for wall), tab, name, name, …",
            "Write it from the table that made your labels: MaskFormer and detectron2 keep it as"
            " ADE20K_SEM_SEG_FULL_CATEGORIES with id, trainId and name.",
        )
    lines = read_lines(path)
    ids, rows = [], []
    for number, line in enumerate(lines, 1):
        value, tab, names = line.partition("\t")
        identifier = whole_number(value)
        if not tab or identifier is None or not names.strip():
            found = f"line {number} of objects847.tsv: {line[:60]!r}"
            raise folder_error(root, found, "id, tab, name, name, …", "Separate id and names by one tab.")
        ids.append(identifier)
        rows.append([name.strip() for name in names.split(",") if name.strip()])
    if len(rows) != _NUM_847 or len(set(ids)) != _NUM_847:
        found = f"{len(rows)} lines and {len(set(ids))} different ids in objects847.tsv"
        raise folder_error(root, found, "847 of both", "Use the whole table, one line a class.")
    return _distinct(root, rows), tuple(ids)


def _distinct(root: Path, rows: list[list[str]]) -> Vocabulary:
    taken: set[str] = set()
    names: list[str] = []
    for row in rows:
        free = [name for name in row if name.casefold() not in taken]
        name = free[0] if free else f"{row[0]} ({1 + sum(other.startswith(row[0]) for other in names)})"
        taken.add(name.casefold())
        names.append(name)
    synonyms = tuple(
        tuple(other for other in row if other != name) for name, row in zip(names, rows, strict=True)
    )
    try:
        return Vocabulary(names=tuple(names), synonyms=without_names_of_others(names, synonyms))
    except VocabularyError as error:
        raise folder_error(root, f"{error.found} in objects847.tsv", error.expected, error.fix) from error


def _code_of_ids(root: Path) -> LabelMapping:
    _, ids = read_objects847(root)
    classes = {value: label for label, value in enumerate(ids)}
    return LabelMapping(classes, frozenset(range(_NUM_IDS)) - set(classes))


def _read_847(root: Path) -> Vocabulary:
    return read_objects847(root)[0]


ADE20K_847 = DatasetFacts(
    name="ade20k-847",
    title="ADE20K full, 847 classes",
    num_classes=_NUM_847,
    background="void",
    splits={"train": (25574,), "val": (2000,)},
    default_split="val",
    tree=_TREE_847,
    rule="16-bit TIFF: 0 to 846, 65535 void; *_seg.png: R // 10 * 256 + G is the id, looked up in objects847.tsv;"
    " images and labels with a short side above 512 are shrunk to 512 (bilinear, nearest)",
    licence="images: for non-commercial research; labels: see the terms at the source",
    source="https://groups.csail.mit.edu/vision/datasets/ADE20K/ (release 2021_17_01, after registration)",
    layouts=(
        Layout(
            name="detectron2", images="images_detectron2/{folder}/{stem}.jpg",
            labels="annotations_detectron2/{folder}/{stem}.tif", folders=_FOLDERS, mapping=identity(_NUM_847),
            hint=_hint_847,
        ),
        Layout(
            name="release", images="images/ADE/{folder}/{stem}.jpg", labels="images/ADE/{folder}/{stem}_seg.png",
            folders=_FOLDERS, mapping=_code_of_ids, encoding="ade-colours", shrink_to=512,
        ),
    ),
    read_vocabulary=_read_847,
    roots=("", "ADE20K_2021_17_01"),
)  # fmt: skip
