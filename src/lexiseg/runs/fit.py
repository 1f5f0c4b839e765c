"""Fit a head on frozen features to a person's folder, and score it: minutes without a GPU."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lexiseg.core.errors import InputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.data.folder import FolderDataset, has_split, split_to_score
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.data.subset import Subset
from lexiseg.data.trained_on import write_trained_on
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.frozen_head.fitting import fit_head
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings
from lexiseg.recipes.frozen_head import num_alike, open_describer
from lexiseg.runs.head_folder import HEAD, TRAINED_ON, build_head, is_unfinished, write_head
from lexiseg.runs.own_labels import KINDS, Described, describe, evidence_of, kinds_in
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.report import Report

Advance = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came of a fit.

    Attributes:
        labels: Kinds of labels that it learnt from.
        num_images: Images that it learnt from.
        encode_seconds: Time to describe them, reading included.
        fit_seconds: Time of the regression.
    """

    labels: tuple[str, ...]
    num_images: int
    encode_seconds: float
    fit_seconds: float


def training_images(path: Path, folder: FolderDataset) -> LabelledDataset:
    """Return the images of a folder to learn from: those of the split train where there is one, never those of val."""
    split = "train" if has_split(path, "train") else None
    chosen = set(FolderDataset(path, split).stems)
    if split_to_score(path) is not None:
        chosen -= set(FolderDataset(path, "val").stems)
    kept = [index for index, stem in enumerate(folder.stems) if stem in chosen]
    if not kept:
        raise InputError(
            doing=f"choosing the images of {path} to learn from",
            found="none: all are listed in val.txt"
            if split is None
            else "none in train.txt but those of val.txt",
            expected="images that are not scored",
            fix="Take some out of val.txt, or list others in train.txt.",
        )
    return Subset(folder, kept, split=split)


def fit(
    path: Path,
    out: Path,
    settings: FrozenHeadSettings,
    *,
    use: Sequence[str] = (),
    overwrite: bool = False,
    advance: Advance = lambda: None,
) -> Fitted:
    """Fit a head to the labels of a folder and write it.

    Args:
        path: The folder.
        out: Where the head goes.
        settings: How images are described and the head is fitted.
        use: Kinds of labels to learn from, of ``own_labels.KINDS``; empty for all that help.
        overwrite: Replace a head that is there.
        advance: Called after each image.

    Raises:
        InputError: A head is there already, a kind of labels is unknown or not in the folder.
        DatasetError: The folder contradicts itself.
        MissingWeightsError: The frozen networks are not here.
    """
    _refuse_there(out, overwrite=overwrite)
    dataset = FolderDataset(path)
    images = training_images(path, dataset)
    describer = open_describer(settings, dataset.vocabulary)
    start = time.perf_counter()
    described = describe(
        (images[index] for index in range(len(images))), describer, dataset.vocabulary, settings, advance
    )
    encoded = time.perf_counter()
    labels = chosen_labels(described, dataset, use)
    evidence = [evidence_of(image, dataset.vocabulary, labels) for image in described]
    head = fit_head(evidence, len(dataset.vocabulary), settings, num_alike=num_alike(describer))
    fitted = time.perf_counter()
    facts = {"labels": list(labels), "images": len(images), "describer": describer.fingerprint}
    with writing_alone(out):
        _refuse_there(out, overwrite=overwrite)  # another may have written there since
        write_trained_on(out / TRAINED_ON, images.files())
        write_head(out, head.weight, dataset.vocabulary, settings, facts)
    return Fitted(
        labels=labels,
        num_images=len(images),
        encode_seconds=encoded - start,
        fit_seconds=fitted - encoded,
    )


def _refuse_there(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder with a head or with files of others; what a stopped fit left there is written again."""
    others = [path for path in out.iterdir() if not is_unfinished(path.name)] if out.exists() else []
    if overwrite or not others:
        return
    raise InputError(
        doing=f"fitting a head into {out}",
        found=f"a {'head' if (out / HEAD).is_file() else 'folder that is not empty'}",
        expected="an empty folder, or a new one",
        fix="Give another folder with --out" + (", or --overwrite." if (out / HEAD).is_file() else "."),
    )


def chosen_labels(
    described: Sequence[Described], dataset: FolderDataset, use: Sequence[str]
) -> tuple[str, ...]:
    """Return the kinds of labels to learn from.

    Raises:
        InputError: A kind that was asked for is unknown, or no image has it.
    """
    there = kinds_in(described, dataset.vocabulary)
    if not use:
        return there
    wrong = [kind for kind in use if kind not in KINDS]
    absent = [kind for kind in use if kind in KINDS and kind != "names" and kind not in there]
    if wrong or absent:
        raise InputError(
            doing=f"choosing the labels of {dataset.path} to learn from",
            found=f"{', '.join(wrong or absent)}, which {'is no kind of label' if wrong else 'no image to learn from has'}",
            expected=f"some of {', '.join(KINDS)}; the folder has {', '.join(there)}",
            fix="Leave --use out to take what there is, or add the labels: lexiseg start FOLDER says how.",
        )
    return tuple(use)


def scored_images(path: Path) -> FolderDataset | None:
    """Return the labelled images of val.txt; None where there is no such list."""
    return None if split_to_score(path) is None else FolderDataset(path, "val", labels="only")


def score(model: Segmenter, path: Path, advance: Advance = lambda: None) -> Report | None:
    """Score a model on the labelled images of val.txt; None where there is no such list."""
    images = scored_images(path)
    return None if images is None else evaluate(model, images, advance=advance, tiles="off")


def scores_of(report: Report | None) -> dict[str, float]:
    """Return the measures of a report that are defined, by name; empty for None."""
    if report is None:
        return {}
    found = {
        name: getattr(report.scores, name)
        for name in ("mean_iou", "seen_mean_iou", "unseen_mean_iou", "harmonic_iou")
    }
    return {
        name: float(value) for name, value in found.items() if value is not None and not math.isnan(value)
    }


def load_head(out: Path) -> Segmenter:
    """Load the head of a folder, ready to segment; features of what it segments are kept."""
    return build_head(str(out), remembers=True).eval().requires_grad_(False)
