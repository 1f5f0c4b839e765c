"""Train twice: weak-shot, then fully supervised on the first model's pseudo masks (``simformer*``).

Re-training in SimFormer (Chen et al., NeurIPS 2022) follows RETAB (Zhou et al., BMVC 2022).
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.data.label_files import read_label_map
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.data.partial_labels.pseudo_masks import pseudo_map, pseudo_mask_path, write_pseudo_mask
from lexiseg.engine.devices import choose_device
from lexiseg.inference.augmented import augmented_labels
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.simformer.model import SimFormer
from lexiseg.methods.simformer.settings import SimFormerSettings
from lexiseg.ops.gather import num_devices
from lexiseg.recipes.base import Recipe, find_recipe
from lexiseg.recipes.simformer import PseudoMaskSettings, SimFormerRecipe
from lexiseg.runs.folder import RECIPE
from lexiseg.runs.retraining_folder import FIRST, PSEUDO_MASKS, SECOND
from lexiseg.runs.train import train_recipe


def write_pseudo_masks(
    segmenter: Segmenter,
    masked_labels: MaskedLabels,
    folder: Path,
    *,
    views: PseudoMaskSettings | None = None,
    shard: tuple[int, int] = (0, 1),
    advance: Callable[[], None] = lambda: None,
) -> int:
    """Segment every image with all classes and keep what its tags allow; masks win.

    Files that are there already are kept, so that an interrupted run goes on.

    Args:
        segmenter: Model trained with the classes of ``masked_labels``.
        masked_labels: The training data.
        folder: Gets one label map an image, 16 bits.
        views: How an image is looked at; None as the segmenter does.
        shard: Number of this process and of all that share the images.
        advance: Called after each image.

    Returns:
        How many were written.

    Raises:
        OutputError: The folder cannot be written.
    """
    written = 0
    views = views or PseudoMaskSettings()
    short_sides = views.short_sides or (segmenter.settings.short_side,)
    for index in range(shard[0], len(masked_labels), shard[1]):
        stem = masked_labels.stems[index]
        if not pseudo_mask_path(folder, stem).is_file():
            sample = masked_labels[index]
            if len(short_sides) == 1 and not views.mirrored:
                changes = {"refine": "none", "short_side": short_sides[0]}
                prediction = segmenter.segment(sample.image, masked_labels.vocabulary, **changes).label_map
            else:
                prediction = augmented_labels(
                    segmenter,
                    sample.image,
                    masked_labels.vocabulary,
                    short_sides=short_sides,
                    mirrored=views.mirrored,
                )
            known = pseudo_map(prediction, sample.tags or frozenset(), sample.label_map)
            write_pseudo_mask(folder, stem, known)
            written += 1
        advance()
    return written


def fully_supervised(method: SimFormerSettings) -> SimFormerSettings:
    """Return the settings of a plain MaskFormer: no pairs, nothing for tags without masks."""
    return replace(method, pairs="none", complementary=0.0)


def count_pseudo_pixels(masked_labels: MaskedLabels, folder: Path) -> dict[str, int]:
    """Count the pixels that pseudo masks gave to each class that images have a tag for, by its name."""
    pixels = np.zeros(len(masked_labels.vocabulary), np.int64)
    tagged: set[int] = set()
    for stem, known in zip(masked_labels.stems, masked_labels.known, strict=True):
        label_map = read_label_map(pseudo_mask_path(folder, stem))
        pixels += np.bincount(label_map.ravel(), minlength=IGNORE_INDEX + 1)[: len(pixels)]
        tagged |= known.tags
    names = masked_labels.vocabulary.names
    unseen = sorted(masked_labels.unseen & tagged)
    return {names[label]: int(pixels[label]) for label in unseen}


def retrain(
    name: str,
    *,
    out: Path,
    recipe: Recipe | None = None,
    resume: bool = False,
    quiet: bool = False,
    most_hours: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> SimFormer:
    """Train by a recipe, write pseudo masks of its training images, and train anew on them.

    The second training has the same settings, but every class has masks by then: no complementary loss
    and no pairs. ``out`` gets the runs ``first`` and ``second`` and the folder ``pseudo_masks``.

    Args:
        name: Name of a SimFormer recipe.
        out: A folder.
        recipe: The recipe with settings changed; None leaves them.
        resume: Go on where it stopped, in whichever part that was.
        quiet: Show no progress.
        most_hours: Refuse, after a few steps, a training that would take longer on this machine; None never does.
        advance: Called after each image that is given pseudo masks.

    Returns:
        The second model in eval mode.

    Raises:
        InputError: The recipe is not one of SimFormer's, or already trains with all masks; the folder holds
            another re-training.
        LexisegError: As training says.
    """
    chosen = recipe or find_recipe(name)
    if (
        not isinstance(chosen, SimFormerRecipe)
        or chosen.classifier != "masks"
        or chosen.data.all_masks
        or chosen.data.pseudo_masks
    ):
        raise InputError(
            doing=f"re-training by {name}",
            found="a recipe that leaves nothing to re-train",
            expected="a recipe of SimFormer with classes that have tags only",
            fix="Give one, such as simformer/scenes, without data.all_masks and data.pseudo_masks.",
        )
    if not resume and (out / PSEUDO_MASKS).exists():
        raise InputError(
            doing=f"re-training into {out}",
            found=f"a folder {PSEUDO_MASKS} of an earlier model",
            expected="an empty folder, or a new one",
            fix="Add --resume to go on with that re-training, or give another folder with --out.",
        )
    is_main = int(os.environ.get("RANK", "0")) == 0
    with writing_alone(out) if is_main else nullcontext():
        runs = {"quiet": quiet, "most_hours": most_hours}
        return _retrain(name, chosen, out, resume=resume, runs=runs, advance=advance)


def _retrain(
    name: str,
    chosen: SimFormerRecipe,
    out: Path,
    *,
    resume: bool,
    runs: Mapping[str, Any],
    advance: Callable[[], None],
) -> SimFormer:
    first = train_recipe(name, recipe=chosen, out=out / FIRST, resume=resume and _begun(out / FIRST), **runs)
    assert isinstance(first, SimFormer)
    masked_labels = chosen.data.masked_labels(chosen.run.seed)
    first.to(choose_device(chosen.run.device))
    shard = (distributed.get_rank(), num_devices()) if num_devices() > 1 else (0, 1)
    write_pseudo_masks(
        first, masked_labels, out / PSEUDO_MASKS, views=chosen.pseudo_masks, shard=shard, advance=advance
    )
    if num_devices() > 1:
        distributed.barrier()
    found = count_pseudo_pixels(masked_labels, out / PSEUDO_MASKS)
    if not runs["quiet"] and shard[0] == 0:
        print(f"pixels of pseudo masks: {_counted(found)}")
    _refuse_small_class(found, chosen.pseudo_masks.min_pixels, out)
    again = dataclasses.replace(
        chosen,
        method=fully_supervised(chosen.method),
        data=dataclasses.replace(chosen.data, pseudo_masks=out / PSEUDO_MASKS),
    )
    second = train_recipe(
        name, recipe=again, out=out / SECOND, resume=resume and _begun(out / SECOND), **runs
    )
    assert isinstance(second, SimFormer)
    return second


def _refuse_small_class(found: Mapping[str, int], least: int, out: Path) -> None:
    """Refuse to train again where a class would not be seen: the second model could not know it.

    Raises:
        InputError: A class has fewer pixels than that in all pseudo masks.
    """
    small = [name for name, pixels in found.items() if pixels < least]
    if small:
        raise InputError(
            doing=f"training again on the pseudo masks in {out / PSEUDO_MASKS}",
            found=f"too few pixels of {', '.join(map(repr, small))}; pixels of every class: {_counted(found)}",
            expected=f"at least {least} of every class that images have tags for",
            fix=f"Train the first model longer; delete {out / PSEUDO_MASKS} before the next try. "
            "--pseudo-masks.min-pixels 0 goes on without these classes.",
        )


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {pixels:,}" for name, pixels in found.items()) or "no class has tags only"


def _begun(run: Path) -> bool:
    return (run / RECIPE).exists()
