"""COCO: the masks of label maps as results (what ``COCO.loadRes`` reads) or as a data set (what ``COCO`` reads).

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the formats are those of pycocotools.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import annotate
from lexiseg.core.whole_numbers import whole_number

#: ``results`` is a list of masks with scores; ``dataset`` has images, categories and annotations.
CocoFormat: TypeAlias = Literal["results", "dataset"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoImage:
    """One image whose masks are written.

    Attributes:
        id: Its number, unique in the file.
        file_name: Where it is, for ``images``.
        label_map: Class index per pixel; 65535 = void, which gets no mask.
        scores: Score of each class that has one; others are written without.
    """

    id: int
    file_name: str
    label_map: UInt16[np.ndarray, "H W"]
    scores: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class CocoCategories:
    """What labels are called in the file.

    Attributes:
        names: Class names in label order.
        ids: Category of each label; None for a class that is no category, whose masks are left out.
    """

    names: Sequence[str]
    ids: Sequence[int | None]

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.ids), "one id a name"


def number_images(stems: Sequence[str]) -> dict[str, int]:
    """Assign every image of a data set a number: its own where all are named by different numbers.

    COCO's "000000000139" is 139. Where stems are other text, or two are one number ("1" and "01"), images are
    counted from 1 in the order of ``stems``, so a part of a data set must not be numbered by itself.
    """
    numbers = {
        stem: number for stem in stems if stem.isascii() and (number := whole_number(stem)) is not None
    }
    if len(set(numbers.values())) == len(set(stems)):
        return numbers
    return {stem: place for place, stem in enumerate(stems, start=1)}


def write_coco(
    images: Iterable[CocoImage],
    categories: CocoCategories,
    path: Path,
    *,
    layout: CocoFormat = "results",
    description: str = "",
) -> int:
    """Write the masks of all images, an image at a time.

    Every mask has ``image_id``, ``category_id``, ``segmentation`` (run lengths, character for character those
    of pycocotools), ``area``, ``bbox``, and ``score`` where it has one. In a data set it also has ``id`` from 1
    and ``iscrowd`` 0.

    Args:
        images: Their label maps index ``categories``.
        categories: Names and ids.
        path: The file; whole or not at all.
        layout: Results, or a data set.
        description: What a data set says of itself.

    Returns:
        The number of masks.

    Raises:
        OutputError: The file cannot be written.
        InputError: A label has no name and is not void.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        if layout == "results":
            return _write_masks(images, categories, file, [], is_dataset=False)
        facts: list[dict[str, Any]] = []
        file.write(f'{{"info": {json.dumps({"description": description}, ensure_ascii=False)},\n')
        file.write('"licenses": [],\n"annotations": ')
        num_masks = _write_masks(images, categories, file, facts, is_dataset=True)
        known = [
            {"id": number, "name": name}
            for number, name in zip(categories.ids, categories.names, strict=True)
            if number is not None
        ]
        file.write(f',\n"images": {json.dumps(facts, ensure_ascii=False)}')
        file.write(f',\n"categories": {json.dumps(known, ensure_ascii=False)}}}\n')
    return num_masks


def _write_masks(
    images: Iterable[CocoImage],
    categories: CocoCategories,
    file: TextIO,
    facts: list[dict[str, Any]],
    *,
    is_dataset: bool,
) -> int:
    """Write the list of masks and note each image's facts; return the number of masks."""
    num_masks = 0
    for image in images:
        height, width = image.label_map.shape
        facts.append({"id": image.id, "file_name": image.file_name, "height": height, "width": width})
        for annotation in annotate(image.label_map, categories.names):
            label = annotation["category_id"]
            if categories.ids[label] is None:
                continue
            num_masks += 1
            mask: dict[str, Any] = {"id": num_masks, "iscrowd": 0} if is_dataset else {}
            mask |= {"image_id": image.id, **annotation, "category_id": categories.ids[label]}
            if label in image.scores:
                mask["score"] = image.scores[label]
            file.write("[\n" if num_masks == 1 else ",\n")
            file.write(json.dumps(mask, ensure_ascii=False))
    file.write("\n]" if num_masks else "[]")
    if not is_dataset:
        file.write("\n")
    return num_masks
