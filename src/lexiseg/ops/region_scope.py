"""Attention inside regions only, and what else regions do for patches (CorrCLIP).

Zhang et al., "CorrCLIP: Reconstructing Patch Correlations in CLIP for Open-Vocabulary Semantic Segmentation", ICCV 2025,
version 1, from its formulas. A region map has 0 where no region is.

Differences from the public code: where everything is segmented, the region of the lowest number is a region like any
other; a patch always keeps itself.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, UInt16
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.ops.self_attention import softmax_or_itself

#: The paper's: how far apart regions may be to become one, and 1 / 0.25, the sharpness of the softmax.
MERGE_DISTANCE, SHARPNESS = 0.2, 4.0


def paint_regions(masks: Bool[np.ndarray, "M H W"]) -> Int32[np.ndarray, "H W"]:
    """Paint masks by rising area, so that larger ones overwrite smaller ones; regions count from 1, 0 is no mask."""
    painted = np.zeros(masks.shape[1:], np.int32)
    areas = masks.sum(axis=(1, 2))
    for number, index in enumerate(np.argsort(areas, kind="stable"), start=1):
        painted[masks[index]] = number
    return painted


def merge_alike(
    regions: Int32[Tensor, " N"], features: Float[Tensor, "N D"], *, max_distance: float = MERGE_DISTANCE
) -> Int32[Tensor, " N"]:
    """Make one region of those that are near in features, in chains; 0 stays 0.

    The distance of two regions is the largest similarity of any two, or of one with itself, minus theirs. Regions within
    ``max_distance`` are joined, and so is everything that is joined to either: DBSCAN with one sample a cluster.

    Args:
        regions: Of every patch.
        features: Unit rows.
        max_distance: 0 joins nothing but equal regions.
    """
    numbers, places = torch.unique(regions, return_inverse=True)
    if len(numbers) <= 2:
        return regions
    means = features.new_zeros(len(numbers), features.shape[1]).index_add_(0, places, features)
    real = (numbers > 0).nonzero()[:, 0]
    rows = normalize(means[real], dim=1)
    similarity = rows @ rows.T
    joined = (similarity.max() - similarity) <= max_distance
    labels = torch.arange(len(real), device=regions.device)
    for _ in range(len(real)):
        spread = labels[None].expand_as(joined).masked_fill(~joined, len(real)).amin(dim=1).minimum(labels)
        if torch.equal(spread, labels):
            break
        labels = spread
    merged = numbers.clone()
    merged[real] = numbers[real][labels]
    return merged[places].to(regions.dtype)


def scope_attention(
    similarity: Float[Tensor, "N N"], regions: Int32[Tensor, " N"], *, sharpness: float = SHARPNESS
) -> Float[Tensor, "N N"]:
    """Compute softmax over the keys of a patch's region; rows sum to 1.

    A pair of which one or both are in no region may attend where its similarity is above the image's mean.

    Args:
        similarity: Cosines.
        regions: Of every patch.
        sharpness: Factor of the similarity.
    """
    is_none = regions == 0
    in_one = (regions[:, None] == regions[None]) & ~is_none[:, None]
    outside = (is_none[:, None] | is_none[None]) & (similarity > similarity.mean())
    return softmax_or_itself(sharpness * similarity[None], (in_one | outside)[None])[0]


def region_vote(
    labels: UInt16[np.ndarray, "H W"], regions: Int32[np.ndarray, "H W"]
) -> UInt16[np.ndarray, "H W"]:
    """Give every region its most frequent label, the lower of two; pixels in no region keep theirs."""
    num_labels = int(labels.max()) + 1
    pairs = np.bincount(
        (regions.astype(np.int64) * num_labels + labels).ravel(),
        minlength=(int(regions.max()) + 1) * num_labels,
    )
    winners = pairs.reshape(-1, num_labels).argmax(axis=1).astype(np.uint16)
    return np.where(regions > 0, winners[regions], labels)
