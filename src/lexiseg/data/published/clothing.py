"""Garments with masks and garments with tags: our division of Clothing Co-Parsing.

Yang, Luo, Lin, "Clothing Co-Parsing by Joint Image Segmentation and Labeling", CVPR 2014: photographs of
dressed people with 59 names, some of them with masks and some with tags only. Nobody has published a
division into seen and unseen names. Ours follows from a rule that looks at no result:

1. ``null`` (the background), ``hair`` and ``skin`` are no garments and have masks.
2. A garment can be unseen if it is in at least ``MIN_IMAGES`` of the photographs with masks and covers at least
   ``MIN_SHARE`` of their pixels: fewer would score noise.
3. Of these, ordered by the number of photographs (equals by label), every fourth is unseen, beginning with the first. So
   common and rare ones are among them, about a quarter as in the published weak-shot splits.

Of the photographs with masks, every fourth is held out for scoring.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from lexiseg.core.vocabulary import Vocabulary

CLOTHING_NAMES = (
    "null", "accessories", "bag", "belt", "blazer", "blouse", "bodysuit", "boots", "bra", "bracelet", "cape",
    "cardigan", "clogs", "coat", "dress", "earrings", "flats", "glasses", "gloves", "hair", "hat", "heels",
    "hoodie", "intimate", "jacket", "jeans", "jumper", "leggings", "loafers", "necklace", "panties", "pants",
    "pumps", "purse", "ring", "romper", "sandals", "scarf", "shirt", "shoes", "shorts", "skin", "skirt",
    "sneakers", "socks", "stockings", "suit", "sunglasses", "sweater", "sweatshirt", "swimwear", "t-shirt",
    "tie", "tights", "top", "vest", "wallet", "watch", "wedges",
)  # fmt: skip

#: What the rule gives for the 400 photographs with masks.
CLOTHING_UNSEEN = ("shoes", "dress", "jeans", "scarf", "vest")

NO_GARMENTS = ("null", "hair", "skin")
MIN_IMAGES = 20
MIN_SHARE = 0.002
EVERY = 4


def clothing_vocabulary() -> Vocabulary:
    """Return the 59 names with their division; label 0 is the background."""
    unseen = {CLOTHING_NAMES.index(name) for name in CLOTHING_UNSEEN}
    seen = frozenset(range(len(CLOTHING_NAMES))) - unseen
    return Vocabulary(names=CLOTHING_NAMES, background=0, seen=seen)


def unseen_by_rule(
    names: Sequence[str], num_images: Int64[np.ndarray, " K"], num_pixels: Int64[np.ndarray, " K"]
) -> tuple[str, ...]:
    """Choose the unseen garments by the rule above.

    Args:
        names: Names of the classes.
        num_images: Photographs in which each has a mask.
        num_pixels: Their pixels.
    """
    share = num_pixels / num_pixels.sum()
    eligible = [
        label
        for label in np.argsort(-num_images, kind="stable").tolist()
        if names[label] not in NO_GARMENTS and num_images[label] >= MIN_IMAGES and share[label] >= MIN_SHARE
    ]
    return tuple(names[label] for label in eligible[::EVERY])


def held_out(stems: Sequence[str]) -> list[int]:
    """Return the numbers of every fourth of the photographs with masks, in the order of their stems."""
    return list(range(EVERY - 1, len(stems), EVERY))
