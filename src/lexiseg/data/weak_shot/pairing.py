"""Which image is compared with which.

Chen et al., NeurIPS 2022, pair an image with one that shares exactly one unseen class: of two classes that
always come together, no image says which is which, but a third image that has only one of them does.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool

#: How often the class with the fewest partners is taken instead of a random one.
MIXING = 0.01

Pairing = Literal["deconfounded", "released", "random"]


class PairingTable:
    """Draw a partner for an image. The candidates are found when asked for: N·K comparisons, no N² table.

    The release keeps lists of at most 500 and 50 candidates; here nothing is cut off.

    Args:
        tags: Unseen classes of each image.
        with_mask: Seen classes of each image.
        num_classes: Size of the vocabulary.
        pairing: ``deconfounded``: through a random unseen class, with an image that shares exactly this
            one if there is any, else one that shares it among others; images without unseen tags through
            a seen class. ``released``: the published code, which pairs an image with one single unseen tag
            through its seen classes, and a class without such a partner with itself. ``random``: any
            other image.
        mixing: How often ``deconfounded`` and ``released`` take the class with the fewest partners.
    """

    def __init__(
        self,
        tags: Sequence[frozenset[int]],
        with_mask: Sequence[frozenset[int]],
        num_classes: int,
        *,
        pairing: Pairing = "deconfounded",
        mixing: float = MIXING,
    ) -> None:
        self.tags, self.pairing, self.mixing = tags, pairing, mixing
        self._tagged = _table(tags, num_classes)
        self._masked = _table(with_mask, num_classes)

    def draw(self, index: int, rng: np.random.Generator) -> int:
        """Draw the partner of an image; the image itself where there is none."""
        if self.pairing == "random":
            others = np.arange(len(self.tags) - 1)
            return _one_of(others + (others >= index), index, rng)
        classes = sorted(self.tags[index])
        shared = (self._tagged & self._tagged[index]).sum(axis=1)
        shared[index] = 0
        if len(classes) >= 2 or (classes and self.pairing == "deconfounded"):
            partners = {label: np.flatnonzero((shared == 1) & self._tagged[:, label]) for label in classes}
            return self._through_unseen(index, partners, shared, rng)
        return self._through_seen(index, rng)

    def _through_unseen(
        self, index: int, partners: dict[int, np.ndarray], shared: np.ndarray, rng: np.random.Generator
    ) -> int:
        usable = [label for label, found in partners.items() if len(found)]
        if not usable:
            if self.pairing == "released":
                return index
            sharing = np.flatnonzero(shared)
            return _one_of(sharing, index, rng) if len(sharing) else self._through_seen(index, rng)
        if rng.random() < self.mixing:
            label = min(usable, key=lambda each: len(partners[each]))
        else:
            label = int(rng.choice(usable if self.pairing == "deconfounded" else sorted(partners)))
        return _one_of(partners[label], index, rng)

    def _through_seen(self, index: int, rng: np.random.Generator) -> int:
        sharing = (self._masked & self._masked[index]).any(axis=1)
        sharing[index] = False
        return _one_of(np.flatnonzero(sharing), index, rng)


def _table(classes: Sequence[frozenset[int]], num_classes: int) -> Bool[np.ndarray, "N K"]:
    table = np.zeros((len(classes), num_classes), bool)
    for row, labels in enumerate(classes):
        table[row, list(labels)] = True
    return table


def _one_of(candidates: np.ndarray, otherwise: int, rng: np.random.Generator) -> int:
    return int(rng.choice(candidates)) if len(candidates) else otherwise
