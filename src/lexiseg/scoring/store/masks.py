"""The masks of a store as images of COCO: labels of the data set's classes, and a score a mask."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt16

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.row_rle import decode_runs
from lexiseg.data.datasets import DATASETS
from lexiseg.data.formats.annotations import LabelledImage
from lexiseg.data.formats.coco import CocoCategories, number_images
from lexiseg.scoring.store.blocks import StoredImage
from lexiseg.scoring.store.predictions import Manifest, Predictions


def coco_categories(manifest: Manifest) -> CocoCategories:
    """Return the data set's classes with the category ids it is published with, or labels where it has none."""
    facts = DATASETS.get(str(manifest.opened_with.get("dataset")))
    published = None if facts is None else facts.category_ids
    if published is not None and len(published) == len(manifest.classes):
        return CocoCategories(names=manifest.classes, ids=published)
    return CocoCategories(names=manifest.classes, ids=tuple(range(len(manifest.classes))))


def predicted_masks(store: Predictions) -> Iterator[LabelledImage]:
    """Return what was predicted, as labels of the data set's classes.

    Names that stand for one class are joined; what stands for none of them gets no mask. A mask's score is the
    mean score of the grid points at which its class is the best one; 1 where the store keeps no scores.
    """
    manifest = store.manifest
    numbers, file_names = number_images(manifest.stems), _file_names(manifest)
    class_of = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint16)
    class_of[: len(manifest.class_of)] = manifest.class_of
    for image in store:
        label_map = class_of[decode_runs(image.predicted, image.size)]
        yield LabelledImage(
            stem=image.stem,
            id=numbers[image.stem],
            file_name=file_names[image.stem],
            label_map=label_map,
            scores=_scores(image, label_map, class_of),
        )


def true_masks(store: Predictions) -> Iterator[LabelledImage]:
    """Return the true label maps of the images that have one."""
    numbers, file_names = number_images(store.manifest.stems), _file_names(store.manifest)
    for image in store:
        if image.true is not None:
            yield LabelledImage(
                stem=image.stem,
                id=numbers[image.stem],
                file_name=file_names[image.stem],
                label_map=decode_runs(image.true, image.size),
                scores={},
            )


def _file_names(manifest: Manifest) -> dict[str, str]:
    """Name each image's file; its stem in a store that does not say."""
    return dict(zip(manifest.stems, manifest.file_names or manifest.stems, strict=True))


def _scores(
    image: StoredImage, label_map: UInt16[np.ndarray, "H W"], class_of: UInt16[np.ndarray, " _"]
) -> dict[int, float]:
    labels = [int(label) for label in np.unique(label_map) if label != IGNORE_INDEX]
    if image.top is None or image.top.scores.size == 0:
        return dict.fromkeys(labels, 1.0)
    classes, scores = class_of[image.top.labels], image.top.scores.astype(np.float64)
    found: dict[int, float] = {}
    for label in labels:
        wins, seen = classes[0] == label, classes == label
        if wins.any():
            found[label] = float(scores[0][wins].mean())
        elif seen.any():  # smaller than a grid point
            found[label] = float(scores[seen].max())
        else:
            found[label] = float(scores[-1].min())
    return found
