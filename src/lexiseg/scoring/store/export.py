"""Write the masks of a predictions store as COCO annotations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import encode_label_map
from lexiseg.core.row_rle import decode_runs
from lexiseg.scoring.store.blocks import StoredImage
from lexiseg.scoring.store.store import PredictionStore


def coco_annotations(image: StoredImage, num_classes: int) -> Iterator[dict[str, Any]]:
    """Give one annotation a class that occurs in an image, in label order.

    Args:
        image: Its stored prediction.
        num_classes: Names of the store's vocabulary.

    Yields:
        ``image_id`` (a number where the stem is one), ``category_id`` (the label) and ``segmentation``
        (run lengths, character for character those of pycocotools).
    """
    stem = image.stem
    masks = encode_label_map(decode_runs(image.predicted, image.size), num_classes)
    for label, mask in masks.items():
        yield {
            "image_id": int(stem) if stem.isdecimal() else stem,
            "category_id": label,
            "segmentation": mask,
        }


def export_coco(store: PredictionStore, path: Path) -> int:
    """Write the masks of all images as one JSON list, an image at a time; give the number of masks.

    Raises:
        OutputError: The file cannot be written.
        DatasetError: A block is damaged.
    """
    num_classes = len(store.manifest.vocabulary)
    num_masks = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for image in store:
            for annotation in coco_annotations(image, num_classes):
                file.write("[\n" if num_masks == 0 else ",\n")
                file.write(json.dumps(annotation, ensure_ascii=False))
                num_masks += 1
        file.write("\n]\n" if num_masks else "[]\n")
    return num_masks
