"""Which images to mask next: where a head is unsure, and which are unlike each other and unlike what has masks.

Uncertainty times diversity, after Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
Approach", ICLR 2018 (greedy farthest first), weighted by the margin between the two best classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.methods.frozen_head.head import LinearHead
from lexiseg.runs.own_labels import Described


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An image to mask.

    Attributes:
        place: Which of the candidates.
        uncertainty: Share of its patches where a second class is as good as the first, in [0, 1].
        distance: To the nearest image that has masks or was chosen before: 1 minus the cosine of mean features.
        unsure_of: Classes that most of its patches are given to, in the order of how many, at most three.
    """

    place: int
    uncertainty: float
    distance: float
    unsure_of: tuple[int, ...]


def choose_next(
    candidates: Sequence[Described],
    labelled: Sequence[Described],
    head: LinearHead,
    count: int,
) -> list[Choice]:
    """Choose images one by one: the product of uncertainty and distance is greatest.

    Args:
        candidates: Images without masks.
        labelled: Images with masks; may be empty.
        head: Fitted to the labels that there are.
        count: How many to choose; all where there are not more.
    """
    num_classes = head.weight.shape[1]
    unsure, classes = [], []
    for image in candidates:
        scores = head(image.rows[None].float())[0]
        unsure.append(float((1 - margins(scores)).mean()))
        frequent = torch.bincount(scores.argmax(dim=1), minlength=num_classes)
        classes.append(
            tuple(int(label) for label in frequent.topk(min(3, num_classes)).indices if frequent[label])
        )
    means = _mean_features([*candidates, *labelled])
    means, of_labelled = means[: len(candidates)], means[len(candidates) :]
    far = torch.full((len(candidates),), 2.0)
    if labelled:
        far = 1 - (means @ of_labelled.T).amax(dim=1)
    uncertainty, chosen, left = torch.tensor(unsure), [], torch.ones(len(candidates), dtype=torch.bool)
    for _ in range(min(count, len(candidates))):
        worth = (uncertainty * far.clamp(min=0)).masked_fill(~left, -1.0)
        place = int(worth.argmax())
        chosen.append(
            Choice(
                place=place,
                uncertainty=unsure[place],
                distance=float(far[place]),
                unsure_of=classes[place],
            )
        )
        left[place] = False
        far = torch.minimum(far, 1 - means @ means[place])
    return chosen


def margins(scores: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    """Return how far the best class is ahead of the second, in [0, 1]."""
    if scores.shape[1] < 2:
        return torch.ones(len(scores))
    best = scores.topk(2, dim=1).values
    return (best[:, 0] - best[:, 1]).clamp(0, 1)


def _mean_features(images: Sequence[Described]) -> Float[Tensor, "M D"]:
    """Return how the mean patch of each image differs from that of all, unit length."""
    means = torch.stack([image.rows.float().mean(dim=0) for image in images])
    return normalize(means - means.mean(dim=0), dim=1)
