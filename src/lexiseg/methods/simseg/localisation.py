"""Where a model looks for a word: how much of its similarity lies inside the true mask."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from lexiseg.core.sample import Sample
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.predict import grid_scores
from lexiseg.methods.simseg.class_masks import resize_nearest, scale_map
from lexiseg.methods.simseg.segmenter import SimSeg


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """How well maps of classes that are there lie on them.

    Attributes:
        inside: Share of a map's mass inside the true mask, mean over all classes of all pictures. Mass is the
            map stretched to [0, 1].
        chance: The same of a map that is flat: the mean area of a mask.
        num_maps: Classes of pictures that were looked at.
    """

    inside: float
    chance: float
    num_maps: int

    @property
    def gain(self) -> float:
        """How many times more mass lies inside than by chance."""
        return self.inside / self.chance


@torch.inference_mode()
def similarity_mass(model: SimSeg, samples: Iterable[Sample], vocabulary: Vocabulary) -> Localisation:
    """Measure the share of text-to-patch similarity inside true masks, background left out.

    Only classes that are really there are asked for, so that this measures where and not whether.

    Args:
        model: In eval mode.
        samples: With label maps.
        vocabulary: What label maps index.
    """
    names = vocabulary.all_names()
    counts = [len(words) for words in names]
    embeddings = model.embed_texts([word for words in names for word in words], model.settings.prompts)
    inside: list[float] = []
    areas: list[float] = []
    for sample in samples:
        assert sample.label_map is not None, f"{sample.source} without a label map"
        found = np.unique(sample.label_map)
        present = [int(k) for k in found if k < len(vocabulary) and k != vocabulary.background]
        if not present:
            continue
        encoded = model.encode(sample.image)
        maps = grid_scores(encoded, model.class_scores, embeddings, counts, present, settings=model.settings)
        for label, scaled in zip(present, scale_map(maps.float().cpu().numpy()), strict=True):
            mask = sample.label_map == label
            mass = resize_nearest(scaled, (mask.shape[0], mask.shape[1]))
            inside.append(float(mass[mask].sum() / max(mass.sum(), 1e-12)))
            areas.append(float(mask.mean()))
    return Localisation(inside=_mean(inside), chance=_mean(areas), num_maps=len(inside))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
