"""Labels and images that can be read and yet cannot mean what they say: what to warn of before anyone scores them.

A mask saved black and white (0 and 255) is a valid label file: 255 is void, and a score of what is left says
nothing. An image that its EXIF data turns without swapping its sides goes on fitting a label file that was
not turned. Neither is an error for certain, so neither is refused.
"""

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX, IGNORE_INDEX_8BIT
from lexiseg.core.errors import LexisegError
from lexiseg.core.image_decoders import decode
from lexiseg.data.folder_lists import first_of
from lexiseg.data.images import exif_orientation
from lexiseg.data.label_files import LEAST_GREY_STEP
from lexiseg.data.labelled_dataset import LabelledDataset

#: Label files that are read before a run; where they look wrong, all are.
NUM_LABELS = 32
#: Images whose EXIF data is read before a run.
NUM_IMAGES = 2000
_KEEP_SIZE = (2, 3, 4)
_SWAP_SIDES = (5, 6, 7, 8)


def doubtful_labels(labels: Collection[int], num_classes: int) -> str:
    """Say why the labels of a whole set, though all allowed, cannot mean classes; empty where they can.

    Args:
        labels: The class indices that occur, with 65535 for void.
        num_classes: Size of the vocabulary.
    """
    there = sorted(label for label in labels if label != IGNORE_INDEX)
    has_void = len(there) < len(set(labels))
    if has_void and not there:
        return "every pixel of every label file is void: there is nothing to score or to learn from"
    if has_void and there == [0]:
        return (
            "only label 0 and void occur: masks saved black and white (0 and 255) look like this, and their"
            " white is void, which nobody scores. Write the class's index where they are white"
        )
    values = [*there, IGNORE_INDEX_8BIT] if has_void else there
    step = math.gcd(*values)
    if len(values) > 2 and step >= LEAST_GREY_STEP:
        return (
            f"the labels {first_of([str(value) for value in values], 6)} are all multiples of {step}: they look like"
            " steps of grey, not class indices. Write 0, 1, 2, … in the order of the class list"
        )
    return ""


def label_warnings(dataset: LabelledDataset) -> list[str]:
    """Return what makes the labels of a data set doubtful: reads a few label files, all where these are doubtful.

    Files that cannot be read are left to whoever needs them.
    """
    total = len(dataset)
    some = sorted({round(place) for place in np.linspace(0, total - 1, min(total, NUM_LABELS))})
    for indices in (some, range(total)):
        found = _labels_of(dataset, indices)
        doubt = doubtful_labels(found, len(dataset.vocabulary)) if found else ""
        if not doubt:
            return []
    return [doubt]


def _labels_of(dataset: LabelledDataset, indices: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for index in indices:
        try:
            label_map = dataset.read_label_map(index)
        except LexisegError:
            continue
        if label_map is not None:
            found.update(np.flatnonzero(np.bincount(label_map.ravel())).tolist())
    return found


def is_turned_in_place(path: Path) -> bool:
    """Return whether EXIF data turns or mirrors an image without changing its size."""
    found = exif_orientation(path)
    if found in _KEEP_SIZE:
        return True
    if found not in _SWAP_SIDES:
        return False
    return decode(path, lambda image: image.width == image.height)


def turned_in_place(images: Sequence[Path], advance: Callable[[], None] = lambda: None) -> str:
    """Say how many labelled images are turned without changing their size; empty where none is.

    Args:
        images: Images with label files; of very many only some are opened.
        advance: Called after each that is opened.
    """
    step = -(-len(images) // NUM_IMAGES) if images else 1
    looked_at = images[::step]
    turned = []
    for path in looked_at:
        if is_turned_in_place(path):
            turned.append(path.name)
        advance()
    if not turned:
        return ""
    of = f"{len(looked_at):,} images" if step == 1 else f"the {len(looked_at):,} images looked at"
    return (
        f"{len(turned):,} of {of} are turned or mirrored by their EXIF data and keep their size ({first_of(turned)}):"
        " nothing shows whether their label files are turned as well. Compare one label map with its image"
    )


def data_warnings(dataset: LabelledDataset) -> list[str]:
    """Return what a person should know before a data set is scored or trained on, a sentence each."""
    turned = turned_in_place(dataset.turned_images())
    return [*dataset.notes, *label_warnings(dataset), *([turned] if turned else [])]
