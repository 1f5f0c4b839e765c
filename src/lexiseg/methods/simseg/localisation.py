"""Where a model looks for a word, and whether it finds the classes of an image at all: the two halves of SimSeg's decision."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32

from lexiseg.core.batch import Sample
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.predict import grid_scores
from lexiseg.methods.simseg.class_masks import present_classes, resize_nearest, scale_map
from lexiseg.methods.simseg.segmenter import SimSeg


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """How well maps of classes that are there lie on them.

    Attributes:
        mask_energy: Share of a similarity map's energy inside the true mask (the map stretched to [0, 1],
            summed), a mean over all classes of all images, in [0, 1].
        area_baseline: Mean area of the true masks, as a share of the image: the mask energy of a flat map.
        num_maps: Number of maps: classes in images that were measured.
    """

    mask_energy: float
    area_baseline: float
    num_maps: int

    @property
    def gain(self) -> float:
        """How many times more mass lies inside than by chance."""
        return self.mask_energy / self.area_baseline


@torch.inference_mode()
def similarity_mass(model: SimSeg, samples: Iterable[Sample], vocabulary: Vocabulary) -> Localisation:
    """Measure the share of text-to-patch similarity inside true masks, background left out.

    Only classes that are really there are asked for, so that this measures where and not whether.

    Args:
        model: In eval mode.
        samples: With label maps.
        vocabulary: What label maps index.
    """
    settings = replace(model.settings, background="none")
    class_names = model.name_classes(vocabulary, settings)
    shares: list[float] = []
    areas: list[float] = []
    for sample in samples:
        assert sample.label_map is not None, f"{sample.source} without a label map"
        found = np.unique(sample.label_map)
        present = [int(k) for k in found if k < len(vocabulary) and k != vocabulary.background]
        if not present:
            continue
        encoded = model.encode(sample.image)
        maps = grid_scores(
            encoded,
            model.class_scores,
            class_names.embeddings,
            class_names.counts,
            present,
            settings=settings,
        )
        for label, scaled in zip(present, scale_map(maps.float().cpu().numpy()), strict=True):
            mask = sample.label_map == label
            mass = resize_nearest(scaled, (mask.shape[0], mask.shape[1]))
            shares.append(float(mass[mask].sum() / max(mass.sum(), 1e-12)))
            areas.append(float(mask.mean()))
    return Localisation(mask_energy=_mean(shares), area_baseline=_mean(areas), num_maps=len(shares))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Scores of whole images, and which classes they let through.

    Attributes:
        scores: Score of every class for every image.
        shown: Whether a class has a pixel in the image.
        found: Whether the threshold on scores lets it through.
    """

    scores: Float32[np.ndarray, "I K"]
    shown: Bool[np.ndarray, "I K"]
    found: Bool[np.ndarray, "I K"]

    def recall(self, labels: list[int]) -> float:
        """Return the share of images with a class in which it is found, over all of ``labels`` together."""
        shown = self.shown[:, labels]
        return float((self.found[:, labels] & shown).sum() / max(1, shown.sum()))

    def mean_score(self, labels: list[int]) -> float:
        """Return the mean score of classes in the images that they are in."""
        shown = self.shown[:, labels]
        return float(self.scores[:, labels][shown].mean()) if shown.any() else float("nan")

    def score_margin(self, label: int, others: list[int]) -> float:
        """Return by how much a class outscores others, in images with it and at least one of them; a mean."""
        beside = self.shown[:, others]
        rows = self.shown[:, label] & beside.any(1)
        if not rows.any():
            return float("nan")
        total = np.where(beside, self.scores[:, others], 0.0).sum(1)[rows] / beside.sum(1)[rows]
        return float((self.scores[rows, label] - total).mean())


@torch.inference_mode()
def class_presence(model: SimSeg, samples: Iterable[Sample], vocabulary: Vocabulary) -> Presence:
    """Score every class for every image, and apply the model's own threshold.

    Args:
        model: In eval mode.
        samples: With label maps.
        vocabulary: What label maps index.
    """
    settings = replace(model.settings, background="none")
    class_names = model.name_classes(vocabulary, settings)
    scores, shown, found = [], [], []
    for sample in samples:
        assert sample.label_map is not None, f"{sample.source} without a label map"
        row = model.image_scores(model.encode(sample.image), class_names, settings)
        labels = np.arange(len(vocabulary))
        scores.append(row)
        shown.append(np.isin(labels, sample.label_map))
        found.append(np.isin(labels, present_classes(row, vocabulary.background, model.method.masks)))
    return Presence(scores=np.stack(scores), shown=np.stack(shown), found=np.stack(found))
