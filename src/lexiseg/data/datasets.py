"""Data sets by name.

>>> from lexiseg.data.datasets import open_dataset
>>> dataset = open_dataset("voc20", "VOCdevkit/VOC2012")
>>> sample = dataset[0]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lexiseg.core.errors import UnknownNameError
from lexiseg.data.folder import FolderDataset
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.published.ade20k import ADE20K_150, ADE20K_847
from lexiseg.data.published.cityscapes import CITYSCAPES19
from lexiseg.data.published.coco import OBJECT80, OBJECT81, STUFF164K
from lexiseg.data.published.coco_stuff10k import STUFF10K
from lexiseg.data.published.context import CONTEXT59, CONTEXT60, CONTEXT459
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.imagenet_s import IMAGENET_S50, IMAGENET_S300, IMAGENET_S919
from lexiseg.data.published.reader import PublishedDataset
from lexiseg.data.published.voc import VOC20, VOC21

#: A person's own data: classes.txt, images/ and labels/. It has no fixed facts.
FOLDER = "folder"

DATASETS: dict[str, DatasetFacts] = {
    "voc20": VOC20,
    "voc21": VOC21,
    "context59": CONTEXT59,
    "context60": CONTEXT60,
    "context459": CONTEXT459,
    "coco-object80": OBJECT80,
    "coco-object81": OBJECT81,
    "coco-stuff164k": STUFF164K,
    "coco-stuff10k": STUFF10K,
    "ade20k-150": ADE20K_150,
    "ade20k-847": ADE20K_847,
    "cityscapes19": CITYSCAPES19,
    "imagenet-s50": IMAGENET_S50,
    "imagenet-s300": IMAGENET_S300,
    "imagenet-s919": IMAGENET_S919,
}


def dataset_facts(name: str) -> DatasetFacts:
    """Look up what is known of a published data set.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in DATASETS:
        raise UnknownNameError.of("data set", name, [*DATASETS, FOLDER])
    return DATASETS[name]


def open_dataset(
    name: str, path: str | Path, split: str | None = None, *, layout: str | None = None
) -> LabelledDataset:
    """Open a copy of a data set.

    Args:
        name: One of ``DATASETS``, or ``folder``.
        path: The folder of the copy.
        split: None for the split that numbers are reported on; for ``folder``, for all images.
        layout: Insist on one layout of the published layouts; None takes the first found.

    Raises:
        UnknownNameError: There is no such data set, split or layout.
        DatasetError: The copy is incomplete or of another kind.
    """
    if name == FOLDER:
        return FolderDataset(path, split, labels="required")
    return PublishedDataset(dataset_facts(name), path, split, layout=layout)


def reopen_dataset(
    opened_with: Mapping[str, Any], path: str | Path, split: str | None = None
) -> LabelledDataset:
    """Open a copy by the same rules as another was opened by, so that its labels mean the same.

    Args:
        opened_with: What ``LabelledDataset.opened_with`` gave, with a ``dataset``.
        path: The folder of the copy.
        split: As in ``open_dataset``.

    Raises:
        DatasetError: The copy is incomplete or of another kind.
    """
    rules = {
        "layout" if rule == "form" else rule: value for rule, value in opened_with.items()
    }  # of earlier stores
    name = rules.pop("dataset")
    if name == FOLDER:
        return FolderDataset(path, split, **rules)
    return open_dataset(name, path, split, **rules)
