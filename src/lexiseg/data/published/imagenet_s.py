"""ImageNet-S: 50, 300 or 919 classes of ImageNet and "other", which is scored.

A mask is an RGB PNG with id = R + 256 G: 0 other, 1 to N in ascending order of WordNet id, 1000 void.
The masks of the test split are hidden; numbers on validation are what can be made at home.
"""

import re
from collections.abc import Callable
from pathlib import Path

from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import from_package, imagenet_classes, with_zeroth
from lexiseg.data.folder_lists import folder_error, read_lines
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import LabelMapping
from lexiseg.data.published.layouts import Layout

_VOID = 1000
_OTHER = "other"
_WNID = re.compile(r"n\d{8}")


def _hint(values: list[int]) -> str:
    if all(value >= 256 and value % 256 in (0, 1, 2, 3) for value in values):
        return (
            "The ids look like 256 R + G, so red and green are swapped. The id is R + 256 G: use the masks as"
            " they were published."
        )
    return (
        "The id is R + 256 G, from 0 to the number of classes, or 1000. Masks of the larger variants do not fit"
        " a smaller one: use the folder ImageNetS50, ImageNetS300 or ImageNetS919 that belongs to the name."
    )


def _read_names(count: int) -> Callable[[Path], Vocabulary]:
    def read(root: Path) -> Vocabulary:
        wnids = _find_wnids(root, count)
        by_wnid = {entry.wnid: entry for entry in imagenet_classes()}
        unknown = [wnid for wnid in wnids if wnid not in by_wnid]
        if unknown or len(wnids) != count:
            raise folder_error(
                root,
                f"{len(wnids)} WordNet ids"
                + (f", of which {unknown[0]} is none of ImageNet's" if unknown else ""),
                f"the {count} of ImageNet-S-{count}",
                f"Use the folder ImageNetS{count} with a subfolder a class, or put the published list"
                f" ImageNetS_categories_im{count}.txt there.",
            )
        names: list[str] = []
        for wnid in wnids:
            entry = by_wnid[wnid]
            names.append(next(name for name in (entry.name, *entry.lemmas) if name not in names))
        return with_zeroth(Vocabulary(names=tuple(names)), _OTHER)

    return read


def _find_wnids(root: Path, count: int) -> list[str]:
    """Read the ids from the published list, or from the folders that hold one class each."""
    name = f"ImageNetS_categories_im{count}.txt"
    for path in (root / name, root.parent / name, root / "data" / "categories" / name):
        if path.is_file():
            return sorted(set(_WNID.findall("\n".join(read_lines(path)))))
    for split in ("train", "validation", "train-semi", "validation-segmentation", "train-semi-segmentation"):
        folder = root / split
        found = (
            sorted(path.name for path in folder.iterdir() if _WNID.fullmatch(path.name))
            if folder.is_dir()
            else []
        )
        if len(found) == count:
            return found
    raise folder_error(
        root,
        f"no {name} and no folder with {count} classes; which ids the {count} classes have does not come with lexiseg",
        f"{name}, or {count} subfolders named by WordNet id in train/ or validation/",
        "Copy the list from https://github.com/LUSSeg/ImageNet-S (data/categories), or complete the folders.",
    )


def _facts(
    count: int, validation: int, test: int, read_vocabulary: Callable[[Path], Vocabulary]
) -> DatasetFacts:
    classes = {label: label for label in range(count + 1)}
    return DatasetFacts(
        name=f"imagenet-s{count}",
        title=f"ImageNet-S-{count}, {count} classes and other; the test split ({test:,} images) has hidden masks",
        num_classes=count + 1,
        background="class 0, other, scored",
        splits={"validation": (validation,), "train-semi": (10 * count,)},
        default_split="validation",
        tree=f"ImageNetS{count}/\n"
        "  {validation,train-semi}/WNID/*.JPEG\n"
        "  {validation,train-semi}-segmentation/WNID/*.png     RGB, R + 256 G",
        rule=f"R + 256 G: 0 other, 1 to {count} in ascending order of WordNet id, 1000 void",
        licence="images: ImageNet, for non-commercial research; labels: see the project page",
        source="https://github.com/LUSSeg/ImageNet-S (needs ImageNet-1k)",
        layouts=(
            Layout(
                name="red-green",
                images="{folder}/{stem}.JPEG",
                labels="{folder}-segmentation/{stem}.png",
                mapping=LabelMapping(classes, frozenset({_VOID})),
                encoding="red-green",
                hint=_hint,
            ),
        ),
        read_vocabulary=read_vocabulary,
        roots=("", f"ImageNetS{count}"),
    )


IMAGENET_S50 = _facts(50, 752, 1682, from_package("imagenet_s50", _OTHER))
IMAGENET_S300 = _facts(300, 4097, 9088, _read_names(300))
IMAGENET_S919 = _facts(919, 12419, 27423, _read_names(919))
