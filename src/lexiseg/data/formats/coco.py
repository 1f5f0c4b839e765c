"""COCO: the masks of label maps as results (what ``COCO.loadRes`` reads) or as a data set (what ``COCO`` reads).

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the formats are those of pycocotools.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

import numpy as np
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import annotate
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.whole_numbers import whole_number
from lexiseg.data.formats.annotations import LabelledImage

#: ``results`` is a list of masks with scores; ``dataset`` has images, categories and annotations.
CocoFormat: TypeAlias = Literal["results", "dataset"]


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
    images: Iterable[LabelledImage],
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


def write_panoptic(images: Iterable[LabelledImage], categories: CocoCategories, path: Path) -> int:
    """Write a panoptic data set: the JSON, and a PNG an image in a folder of the JSON's name beside it.

    Each class of an image is one segment, numbered by its category's id + 1; 0 is void.

    Returns:
        The number of segments.

    Raises:
        OutputError: A file cannot be written.
    """
    facts: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers = np.zeros(IGNORE_INDEX + 1, np.uint32)
    for label, number in enumerate(categories.ids):
        numbers[label] = 0 if number is None else number + 1
    for image in images:
        height, width = image.label_map.shape
        segments = numbers[image.label_map]
        name = f"{image.stem}.png"
        with atomic_path(path.with_suffix("") / name) as temporary:
            colours = [(segments >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)]
            Image.fromarray(np.stack(colours, -1)).save(temporary)
        facts.append({"id": image.id, "file_name": image.file_name, "height": height, "width": width})
        found = [
            {
                "id": int(numbers[one["category_id"]]),
                "category_id": categories.ids[one["category_id"]],
                "area": one["area"],
                "bbox": one["bbox"],
                "iscrowd": 0,
            }
            for one in annotate(image.label_map, categories.names)
            if categories.ids[one["category_id"]] is not None
        ]
        annotations.append({"image_id": image.id, "file_name": name, "segments_info": found})
    known = [
        {"id": number, "name": name, "isthing": 0, "supercategory": ""}
        for number, name in zip(categories.ids, categories.names, strict=True)
        if number is not None
    ]
    content = {"images": facts, "annotations": annotations, "categories": known}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return sum(len(one["segments_info"]) for one in annotations)


def _write_masks(
    images: Iterable[LabelledImage],
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
