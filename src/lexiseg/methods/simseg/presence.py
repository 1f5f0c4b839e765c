"""Whether classes that are in a picture are found there at all: the first half of SimSeg's decision."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32

from lexiseg.core.sample import Sample
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.methods.simseg.class_masks import present_classes
from lexiseg.methods.simseg.segmenter import SimSeg


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Scores of whole pictures, and which classes they let through.

    Attributes:
        scores: Of every class for every picture.
        shown: Whether a class has a pixel in the picture.
        found: Whether the threshold on scores lets it through.
    """

    scores: Float32[np.ndarray, "I K"]
    shown: Bool[np.ndarray, "I K"]
    found: Bool[np.ndarray, "I K"]

    def recall(self, labels: list[int]) -> float:
        """Give the share of pictures with a class in which it is found, over all of ``labels`` together."""
        shown = self.shown[:, labels]
        return float((self.found[:, labels] & shown).sum() / max(1, shown.sum()))

    def mean_score(self, labels: list[int]) -> float:
        """Give the mean score of classes in the pictures that they are in."""
        shown = self.shown[:, labels]
        return float(self.scores[:, labels][shown].mean()) if shown.any() else float("nan")

    def lead(self, label: int, others: list[int]) -> float:
        """Give by how much a class outscores others, in pictures with it and at least one of them; a mean."""
        beside = self.shown[:, others]
        rows = self.shown[:, label] & beside.any(1)
        if not rows.any():
            return float("nan")
        total = np.where(beside, self.scores[:, others], 0.0).sum(1)[rows] / beside.sum(1)[rows]
        return float((self.scores[rows, label] - total).mean())


@torch.inference_mode()
def class_presence(model: SimSeg, samples: Iterable[Sample], vocabulary: Vocabulary) -> Presence:
    """Score every class for every picture, and apply the model's own threshold.

    Args:
        model: In eval mode.
        samples: With label maps.
        vocabulary: What label maps index.
    """
    names = vocabulary.all_names()
    counts = [len(words) for words in names]
    embeddings = model.embed_texts([word for words in names for word in words], model.settings.prompts)
    scores, shown, found = [], [], []
    for sample in samples:
        assert sample.label_map is not None, f"{sample.source} without a label map"
        row = model.picture_scores(model.encode(sample.image), embeddings, counts, model.settings.synonyms)
        labels = np.arange(len(vocabulary))
        scores.append(row)
        shown.append(np.isin(labels, sample.label_map))
        found.append(np.isin(labels, present_classes(row, vocabulary.background, model.method.masks)))
    return Presence(scores=np.stack(scores), shown=np.stack(shown), found=np.stack(found))
