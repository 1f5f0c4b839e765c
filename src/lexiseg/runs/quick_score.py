"""Scores of heads on images that are described already: what learning curves need hundreds of."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64

from lexiseg.methods.frozen_head.head import LinearHead
from lexiseg.runs.own_labels import Described

#: Draws of images for an interval.
_DRAWS = 200


class PatchTruth:
    """What is right in each patch of some images: shares of classes, so that no label map has to be drawn.

    A patch counts for the class that it is given as far as its pixels are of it; void does not count. Numbers are within a few
    percent of those of label maps, whose borders are finer.

    Args:
        images: With masks.
        num_classes: Number of classes.
    """

    def __init__(self, images: Sequence[Described], num_classes: int) -> None:
        self.images, self.num_classes = images, num_classes

    def count(self, head: LinearHead) -> Float[np.ndarray, "M 3 K"]:
        """Return true, predicted and correct patches of every class in each image."""
        counts = []
        for image in self.images:
            assert image.shares is not None
            assert image.known is not None
            shares = image.shares[image.known].float()
            chosen = head(image.rows[None].float())[0, image.known].argmax(dim=1)
            predicted = torch.bincount(chosen, minlength=self.num_classes).float()
            right = torch.zeros(self.num_classes).index_add_(
                0, chosen, shares.gather(1, chosen[:, None])[:, 0]
            )
            counts.append(torch.stack([shares.sum(0), predicted, right]))
        return torch.stack(counts).numpy().astype(np.float64)


def mean_iou(pixels: Float[np.ndarray, "3 K"]) -> float:
    """Return the mean IoU of the classes that occur, in [0, 1]; NaN where none does."""
    occurs = pixels[0] > 0
    true, predicted, right = pixels[:, occurs]
    return float((right / (true + predicted - right)).mean()) if occurs.any() else float("nan")


def draws_of_images(num_images: int, seed: int) -> Int64[np.ndarray, "R M"]:
    """Return how often each image is in each draw with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=_DRAWS)


def drawn_mean_ious(
    counts: Float[np.ndarray, "M 3 K"], draws: Int64[np.ndarray, "R M"]
) -> Float[np.ndarray, " R"]:
    """Return the mean IoU of every draw."""
    sums = np.tensordot(draws.astype(np.float64), counts, axes=1)
    return np.array([mean_iou(pixels) for pixels in sums])
