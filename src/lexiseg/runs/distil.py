"""Distil: teach a plain, fast segmenter what a slower open-vocabulary model knows, and compare the two."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from lexiseg.core.errors import InputError
from lexiseg.data.partial_labels.pseudo_masks import pseudo_mask_path, write_pseudo_mask
from lexiseg.engine.devices import choose_device
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.recipes.clip_to_seg import ClipToSegRecipe, folder
from lexiseg.recipes.dense_similarity import VALUE_HEAD
from lexiseg.runs.load import MODELS, load
from lexiseg.runs.train import train_recipe
from lexiseg.scoring.compare import ScoreDifference, difference, difference_json
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.score import ProtocolScores

RECIPE = "clip-to-seg/folder"
#: Below the run's folder, where the teacher's predictions are the labels.
PSEUDO_MASKS = "pseudo_masks"
#: Below the run's folder: teacher and student side by side.
COMPARISON = "comparison.json"
#: Images that speed is measured on, each once more after a first round that is not counted.
TIMED = 16

#: What the student sees of labels: nothing; masks of the classes in seen.txt; what the teacher predicts.
Labels = Literal["none", "seen", "teacher"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Teacher and student side by side.

    Attributes:
        names: Of the two.
        parameters: That take part in segmenting, in millions.
        images_per_second: Median of the same images, one at a time, from pixels in memory to a label map.
        results: Scores of the images that the folder lists in val.txt, as mmseg counts; None where there are none.
    """

    names: tuple[str, str]
    parameters: tuple[float, float]
    images_per_second: tuple[float, float]
    results: tuple[ProtocolScores, ProtocolScores] | None

    @property
    def difference(self) -> ScoreDifference | None:
        """Compare the student's mean IoU with the teacher's, image by image."""
        return None if self.results is None else difference(*self.results)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it; intervals are the middle 95 % of draws of images."""
        return {
            "models": [self._model_json(place) for place in range(2)],
            "difference": None if self.difference is None else difference_json(self.difference),
        }

    def _model_json(self, place: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.names[place],
            "million_parameters": self.parameters[place],
            "images_per_second": self.images_per_second[place],
        }
        if self.results is None:
            return found
        result = self.results[place]
        ends = zip(result.intervals.low.tolist(), result.intervals.high.tolist(), strict=True)
        values = (result.headline, *(result.split_means or ()))
        means = ("mean_iou", "seen_mean_iou", "unseen_mean_iou", "harmonic_iou")
        found["num_images"] = result.num_images
        found["pixel_accuracy"] = result.scores.pixel_accuracy
        for name, value, (low, high) in zip(means, values, ends, strict=False):
            found[name] = {"value": value, "low": low, "high": high}
        return found


def distil_recipe(
    teacher: str,
    data: Path,
    *,
    labels: Labels,
    out: Path,
    changes: Callable[[ClipToSegRecipe], ClipToSegRecipe],
) -> ClipToSegRecipe:
    """Choose the settings: those of ``clip-to-seg/folder`` for this teacher and these labels.

    Args:
        teacher: ``mini``, or the hub id or folder of a CLIP or SigLIP checkpoint.
        data: A folder of images, with classes.txt, seen.txt and labels/ where they are used.
        labels: What the student sees of labels.
        out: The run's folder.
        changes: Made in the end.

    Raises:
        InputError: The labels are not there.
    """
    recipe = folder()
    source = replace(recipe.data, path=data)
    if labels == "none":
        source = replace(source, masks="none")
    elif labels == "teacher":
        source = replace(source, pseudo_masks=out / PSEUDO_MASKS)
    if labels != "none" and not (data / "classes.txt").is_file():
        raise InputError(
            doing=f"distilling {teacher}",
            found=f"--labels {labels} and no classes.txt in {data}",
            expected="the names that labels, or the teacher's predictions, are of",
            fix="Write classes.txt, one name a line, or use --labels none.",
        )
    return changes(replace(recipe, data=source, teacher=replace(recipe.teacher, name=teacher)))


def distil(
    recipe: ClipToSegRecipe,
    *,
    out: Path,
    resume: bool = False,
    quiet: bool = False,
    most_hours: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> ClipToSeg:
    """Let the teacher label the images where the recipe asks for that, then train the student.

    Args:
        recipe: Of ``distil_recipe``.
        out: The run's folder.
        resume: Go on with the run in it.
        quiet: Show no progress of the training.
        most_hours: Refuse, after a few steps, a training that would take longer on this machine; None never does.
        advance: Called after each image that the teacher has labelled.

    Raises:
        LexisegError: As training says.
    """
    if recipe.data.pseudo_masks is not None:
        write_teacher_masks(recipe, recipe.data.pseudo_masks, advance=advance)
    student = train_recipe(RECIPE, recipe=recipe, out=out, resume=resume, quiet=quiet, most_hours=most_hours)
    assert isinstance(student, ClipToSeg)
    return student


def write_teacher_masks(
    recipe: ClipToSegRecipe, into: Path, *, advance: Callable[[], None] = lambda: None
) -> int:
    """Segment the training images with all classes of the folder; what is there already is kept.

    Returns:
        How many were written.

    Raises:
        OutputError: The folder cannot be written.
    """
    images = recipe.data.training_images(recipe.run.seed)
    missing = [index for index, stem in enumerate(images.stems) if not pseudo_mask_path(into, stem).is_file()]
    if missing:
        teacher = _load_teacher(recipe)
        for index in missing:
            label_map = teacher.segment(images[index].image, images.vocabulary).label_map
            write_pseudo_mask(into, images.stems[index], label_map)
            advance()
    return len(missing)


def _load_teacher(recipe: ClipToSegRecipe) -> Segmenter:
    """Load the teacher with the head that training learns from, whatever the default head is."""
    name = recipe.teacher.name
    changes = {} if name in MODELS else {"head": VALUE_HEAD.head}
    return load(name, device=recipe.run.device, method_settings=changes)


def compare_with_teacher(student: ClipToSeg, recipe: ClipToSegRecipe, words: Sequence[str] = ()) -> Compared:
    """Measure speed, and quality where the folder lists labelled images in val.txt.

    Args:
        student: Trained by the recipe.
        recipe: Whose teacher, images and device are taken.
        words: What is segmented where the folder has no classes.
    """
    device = choose_device(recipe.run.device)
    teacher = _load_teacher(recipe)
    student = student.to(device)
    images = recipe.data.training_images(recipe.run.seed)
    named = (recipe.data.path or Path()) / "classes.txt"
    asked = recipe.data.vocabulary().names if named.is_file() else (tuple(words) or ("thing", "background"))
    pixels = [images[index].image for index in range(min(TIMED, len(images)))]
    speeds = (images_per_second(teacher, pixels, asked), images_per_second(student, pixels, asked))
    scored = recipe.data.scored_images()
    results = None
    if scored is not None:
        results = (evaluate(teacher, scored).results[0], evaluate(student, scored).results[0])
    return Compared(
        names=(recipe.teacher.name, student.name),
        parameters=(_millions(teacher), _millions(student)),
        images_per_second=speeds,
        results=results,
    )


def images_per_second(
    segmenter: Segmenter, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], words: Sequence[str]
) -> float:
    """Segment images one at a time; the inverse of the median time, after a round that is not counted."""
    times = []
    for counted in (False, True):
        for image in images:
            start = time.perf_counter()
            segmenter.segment(image, list(words))
            if counted:
                times.append(time.perf_counter() - start)
    return 1 / float(np.median(times))


def _millions(segmenter: Segmenter) -> float:
    return sum(value.numel() for value in segmenter.parameters()) / 1e6
