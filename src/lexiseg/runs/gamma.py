"""Score a run of CLIP-to-Seg at many γ: what is taken from the scores of classes that had masks."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.file_names import class_key
from lexiseg.core.row_rle import encode_runs
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.trained_on import TrainedOn
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.metrics.bootstrap import Statistic, intervals
from lexiseg.metrics.image_counts import ImageCounts, count_runs
from lexiseg.metrics.iou import harmonic_mean, iou_of_pixels
from lexiseg.recipes.clip_to_seg import ClipToSegRecipe
from lexiseg.runs.folder import TRAINED_ON, load_run, read_recipe


@dataclass(frozen=True, kw_only=True)
class GammaScores:
    """Scores at one γ, from one confusion matrix of all images; middle 95 % of draws of images beside them.

    Attributes:
        gamma: Taken from the scores of seen classes.
        seen: Mean IoU of the classes that had masks.
        unseen: Mean IoU of the others.
        harmonic: Their harmonic mean.
        intervals: Lower and upper end of each of the three.
    """

    gamma: float
    seen: float
    unseen: float
    harmonic: float
    intervals: tuple[tuple[float, float], ...]


def open_run(folder: Path, *, trust: bool = False) -> tuple[ClipToSeg, ClipToSegRecipe]:
    """Load a run and its recipe.

    Args:
        folder: The run's.
        trust: Run the code of a recipe that is a person's own.

    Raises:
        InputError: It is a run of another method.
        CheckpointError: A part of it is missing or damaged.
    """
    model, (_, recipe) = load_run(folder, trust=trust), read_recipe(folder, trust=trust)
    if isinstance(model, Segmenter):
        model.name, model.trained_on = str(folder), TrainedOn.read(folder / TRAINED_ON)
    if isinstance(model, ClipToSeg) and isinstance(recipe, ClipToSegRecipe):
        return model, recipe
    raise InputError(
        doing=f"opening {folder}",
        found=f"a run of {type(model).__name__}",
        expected="a run of CLIP-to-Seg: γ is its setting",
        fix="Give the folder of a run of a clip-to-seg recipe.",
    )


def sweep_gamma(
    model: ClipToSeg,
    images: LabelledDataset,
    gammas: Sequence[float],
    *,
    advance: Callable[[], None] = lambda: None,
) -> list[GammaScores]:
    """Score every γ on the same images, each of which is encoded once.

    Args:
        model: Its own seen classes divide the vocabulary.
        images: With label maps of all classes.
        gammas: What to take from the scores of seen classes.
        advance: Called after each image.

    Raises:
        DatasetError: An image has no label map, or all classes or none had masks.
    """
    vocabulary = images.vocabulary
    known = {class_key(name) for name in model.seen}
    sides = [
        np.array([label for label, name in enumerate(vocabulary.names) if (class_key(name) in known) is seen])
        for seen in (True, False)
    ]
    if not all(len(side) for side in sides):
        raise DatasetError(
            doing=f"scoring many γ on {images.path}",
            found="classes that all had masks in training"
            if len(sides[0])
            else "no class that had masks in training",
            expected="some of both: γ moves scores between them",
            fix="Give the data set that the model was trained on, with all its classes.",
        )
    counts: list[list[ImageCounts]] = [[] for _ in gammas]
    method = model.method
    try:
        for sample in images:
            if sample.label_map is None:
                raise DatasetError(
                    doing=f"scoring {sample.source}",
                    found="no label map for it",
                    expected="a label map for every image that is scored",
                    fix="Add its label file, or list labelled images only.",
                )
            true = encode_runs(sample.label_map)
            encoded = model.encode(sample.image)
            for place, gamma in enumerate(gammas):
                model.method = dataclasses.replace(method, gamma=gamma)
                predicted = model.segment(encoded, vocabulary).label_map
                predicted = np.where(predicted < len(vocabulary), predicted, np.uint16(IGNORE_INDEX))
                counts[place].append(count_runs(true, encode_runs(predicted)))  # type: ignore[arg-type]
            advance()
    finally:
        model.method = method
    return [
        _scores(gamma, ImageCounts.join(of_gamma), len(vocabulary), sides)  # type: ignore[arg-type]
        for gamma, of_gamma in zip(gammas, counts, strict=True)
    ]


def _scores(gamma: float, counts: ImageCounts, num_classes: int, sides: Sequence[np.ndarray]) -> GammaScores:
    margins = counts.margins(num_classes)
    statistic = _statistic(sides)
    pixels = np.zeros((3, num_classes), np.int64)
    for kind in range(3):
        np.add.at(pixels[kind], margins.label, margins.amounts[:, kind])
    seen, unseen, harmonic = (float(value) for value in statistic(pixels))
    found = intervals(margins, num_classes, statistic)
    ends = tuple((float(low), float(high)) for low, high in zip(found.low, found.high, strict=True))
    return GammaScores(gamma=gamma, seen=seen, unseen=unseen, harmonic=harmonic, intervals=ends)


def _statistic(sides: Sequence[np.ndarray]) -> Statistic:
    def compute(pixels: Int64[np.ndarray, "3 K"]) -> Float64[np.ndarray, " S"]:
        iou = iou_of_pixels(*pixels)
        # A class that neither occurs nor is predicted says nothing.
        means = [
            float(np.nanmean(iou[side])) if np.isfinite(iou[side]).any() else float("nan") for side in sides
        ]
        return np.array([*means, harmonic_mean(*means)])

    return compute
