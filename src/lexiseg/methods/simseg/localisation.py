"""Where a model looks for a word, and whether it finds the classes of an image at all: the two halves of SimSeg's decision."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32

from lexiseg.core.batch import Sample
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.methods.simseg.class_masks import present_classes, resize_nearest, scale_map
from lexiseg.methods.simseg.segmenter import SimSeg


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """How well maps of classes that are there lie on them, and whether they tell these classes apart.

    Attributes:
        mask_energy: Share of a similarity map's energy inside the true mask (the map stretched to [0, 1],
            summed), a mean over all classes of all images, in [0, 1].
        area_baseline: Mean area of the true masks, as a share of the image: the mask energy of a flat map.
        num_maps: Number of maps: classes in images that were measured.
        map_offset: By how many standard deviations of a map things of any kind lie above what is behind them; below 0
            the maps are upside down. Says nothing of which thing is which.
        which_is_which: Among pixels of things alone, in images with two things or more: share that the arg max over the
            standardised maps of these things gives to the right one, each thing of an image counted alike, in [0, 1].
        chance: The same of a coin.
    """

    mask_energy: float
    area_baseline: float
    num_maps: int
    map_offset: float
    which_is_which: float
    chance: float

    @property
    def gain(self) -> float:
        """How many times more mass lies inside than by chance."""
        return self.mask_energy / self.area_baseline


@torch.inference_mode()
def similarity_mass(model: SimSeg, samples: Iterable[Sample], vocabulary: Vocabulary) -> Localisation:
    """Measure where maps of things lie and whether they tell things apart, background left out.

    Only classes that are really there are asked for, so that this measures where and not whether.

    Args:
        model: In eval mode; ``masks.map`` says which maps.
        samples: With label maps.
        vocabulary: What label maps index.
    """
    settings = replace(model.settings, background="none")
    class_names = model.name_classes(vocabulary, settings)
    shares: list[float] = []
    areas: list[float] = []
    offsets: list[float] = []
    right: list[float] = []
    chances: list[float] = []
    for sample in samples:
        assert sample.label_map is not None, f"{sample.source} without a label map"
        found = np.unique(sample.label_map)
        present = [int(k) for k in found if k < len(vocabulary) and k != vocabulary.background]
        if not present:
            continue
        maps = model.word_maps(model.encode(sample.image), class_names, present, settings)
        rows = np.stack([resize_nearest(one, sample.label_map.shape) for one in maps])
        masks = np.stack([sample.label_map == label for label in present])
        for mask, scaled in zip(masks, scale_map(rows), strict=True):
            shares.append(float(scaled[mask].sum() / max(scaled.sum(), 1e-12)))
            areas.append(float(mask.mean()))
        spread = np.maximum(rows.std((1, 2), keepdims=True), 1e-12)
        standard = (rows - rows.mean((1, 2), keepdims=True)) / spread
        things = masks.any(0)
        if not things.all():
            offsets += [float(one[things].mean() - one[~things].mean()) for one in standard]
        if len(present) > 1:
            best = standard.argmax(0)
            right.append(float(np.mean([(best[mask] == place).mean() for place, mask in enumerate(masks)])))
            chances.append(1 / len(present))
    return Localisation(
        mask_energy=_mean(shares),
        area_baseline=_mean(areas),
        num_maps=len(shares),
        map_offset=_mean(offsets),
        which_is_which=_mean(right),
        chance=_mean(chances),
    )


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
