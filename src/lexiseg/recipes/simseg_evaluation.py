"""What is measured of a SimSeg on scenes: masks, places, retrieval and classification."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.labelled_dataset import LabelledDataset
from lexiseg.methods.simseg.localisation import class_presence, similarity_mass
from lexiseg.methods.simseg.segmenter import SimSeg
from lexiseg.metrics.retrieval import retrieval_recall, top_k_accuracy
from lexiseg.scoring.evaluate import evaluate
from lexiseg.scoring.image_text import embed_pairs

_RANGES = {
    "num_scenes": Range(least=1, most=1_000_000),
    "seed": Range(least=0),
}


@dataclass(frozen=True, kw_only=True)
class SceneEvaluation:
    """How much is measured, on which scenes.

    Attributes:
        num_scenes: Number of scenes to evaluate on.
        seed: Seed of these scenes, 0 or more; no training sees any of them.
    """

    num_scenes: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the evaluation on scenes")


def evaluate_on_scenes(
    model: SimSeg, dataset: LabelledDataset, *, common: str | None = None
) -> dict[str, float]:
    """Measure a model in eval mode.

    Args:
        model: A SimSeg.
        dataset: Scenes.
        common: The class that is in almost all of them, if one is.

    Returns:
        Fractions in [0, 1], except ``rsum``, the sum of six recalls in percent: ``mean_iou`` of all classes and of
        ``background``; ``foreground_mean_iou`` without it; where there is a split, ``seen_mean_iou`` and
        ``unseen_mean_iou``; ``mask_energy``, the share of similarity inside true masks, and ``area_baseline``, of a flat map;
        ``which_is_which`` of the things of an image alone, beside ``which_is_which_chance``, and ``map_offset``, by how many
        standard deviations (not in [0, 1]) maps of words lie higher on things than behind them;
        ``image_to_text_1`` and ``text_to_image_1``; ``top1`` and ``top5``: whether the largest thing of a
        image is among the best classes; ``top1_present``: whether the best class is in the image at all;
        ``recall``: how many of the classes that are there the threshold on whole images lets through. With
        a common class also ``common_recall`` and ``others_recall``, ``common_score`` and ``others_score`` (mean
        scores where they are), and ``score_margin``, by how much it outscores those beside it.
    """
    report = evaluate(model, dataset)
    vocabulary = dataset.vocabulary
    ious = np.asarray(report.scores.iou)
    things = [label for label in range(len(vocabulary)) if label != vocabulary.background]
    found = {"mean_iou": _mean(ious), "foreground_mean_iou": _mean(ious[things])}
    if vocabulary.background is not None:
        found["background"] = float(ious[vocabulary.background])
    if vocabulary.seen is not None:
        found["seen_mean_iou"] = _mean(ious[[label for label in things if label in vocabulary.seen]])
        found["unseen_mean_iou"] = _mean(ious[[label for label in things if label not in vocabulary.seen]])
    place = similarity_mass(model, dataset, vocabulary)
    found |= {
        "mask_energy": place.mask_energy,
        "area_baseline": place.area_baseline,
        "which_is_which": place.which_is_which,
        "which_is_which_chance": place.chance,
        "map_offset": place.map_offset,
    }
    pairs = embed_pairs(model, dataset, fit="squash")  # scenes are square, and have things at their rim
    recall = retrieval_recall((pairs.images @ pairs.texts.T).numpy(), pairs.image_of_text.numpy())
    found |= {
        "image_to_text_1": recall.image_to_text[1],
        "text_to_image_1": recall.text_to_image[1],
        "rsum": 100 * sum((*recall.image_to_text.values(), *recall.text_to_image.values())),
    }
    presence = class_presence(model, dataset, vocabulary)
    found["recall"] = presence.recall(things)
    if common is not None:
        label = vocabulary.index(common)
        others = [thing for thing in things if thing != label]
        found |= {
            "common_recall": presence.recall([label]),
            "others_recall": presence.recall(others),
            "common_score": presence.mean_score([label]),
            "others_score": presence.mean_score(others),
            "score_margin": presence.score_margin(label, others),
        }
    return found | _classification(model, pairs.images, dataset, vocabulary, things)


@torch.inference_mode()
def _classification(
    model: SimSeg,
    images: Float[Tensor, "I D"],
    dataset: LabelledDataset,
    vocabulary: Vocabulary,
    things: list[int],
) -> dict[str, float]:
    """Classify images by names; background is no answer."""
    names = [vocabulary.names[label] for label in things]
    scores = (images @ model.embed_texts(names, model.settings.prompts).cpu().T).numpy()
    areas = np.stack([_areas(sample.label_map, len(vocabulary)) for sample in dataset])[:, things]
    shown = areas.max(1) > 0
    largest: Int64[np.ndarray, " I"] = areas[shown].argmax(1).astype(np.int64)
    accuracy = top_k_accuracy(scores[shown].astype(np.float32), largest, (1, 5))
    best = scores[shown].argmax(1)
    present = areas[shown][np.arange(len(best)), best] > 0
    return {"top1": accuracy[1], "top5": accuracy[5], "top1_present": float(present.mean())}


def _areas(label_map: np.ndarray | None, num_classes: int) -> np.ndarray:
    assert label_map is not None, "a scene without a label map"
    return np.bincount(label_map[label_map < num_classes], minlength=num_classes)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
