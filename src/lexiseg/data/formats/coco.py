"""COCO: the masks of label maps as one list of annotations, which pycocotools reads as results."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.coco_rle import annotate
from lexiseg.core.vocabulary import Vocabulary


def write_coco(images: Iterable[tuple[str, UInt16[np.ndarray, "_ _"], Vocabulary]], path: Path) -> int:
    """Write the masks of all images as one JSON list, an image at a time.

    Each annotation has ``image_id`` (a number where the stem is one) and what ``core.coco_rle.Annotation``
    lists; run lengths are character for character those of pycocotools.

    Args:
        images: Stem, label map (``H W``, 65535 = void) and what its labels index.
        path: The file; whole or not at all.

    Returns:
        The number of masks.

    Raises:
        OutputError: The file cannot be written.
        InputError: A label has no name and is not void.
    """
    num_masks = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for stem, label_map, vocabulary in images:
            image_id = int(stem) if stem.isdecimal() else stem
            for annotation in annotate(label_map, vocabulary.names):
                file.write("[\n" if num_masks == 0 else ",\n")
                file.write(json.dumps({"image_id": image_id, **annotation}, ensure_ascii=False))
                num_masks += 1
        file.write("\n]\n" if num_masks else "[]\n")
    return num_masks
