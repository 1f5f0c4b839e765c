"""From pixels to mean IoU with the parts of RIM alone: colours for features, quadrants for masks."""

import numpy as np
import pytest
import torch

from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.ops.mask_fusing import fuse_masks
from lexiseg.ops.painting import paint_regions
from lexiseg.ops.ranking import standardise
from lexiseg.ops.region_matching import Ranking, match_regions, reference_scores
from lexiseg.ops.region_pooling import pool_regions
from lexiseg.ops.spherical_kmeans import spherical_kmeans

BACKGROUND, RED, GREEN, BLUE = range(4)
COLOURS = np.array([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9]])


def noisy(colours, seed):
    return np.clip(colours + 0.05 * np.random.default_rng(seed).standard_normal(colours.shape), 0, 1)


def references(num_subcategories):
    images = [torch.tensor(noisy(np.repeat(COLOURS[[k]], 50, 0), k)).float() for k in (RED, GREEN, BLUE)]
    return torch.stack([spherical_kmeans(each, num_subcategories).centroids for each in images])


def segment(truth, ranking: Ranking, *, num_subcategories=3, threshold=None):
    """Label an 8 × 8 image of quadrants; below ``threshold`` of the best cosine is background."""
    quadrants = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int))
    masks = np.stack([quadrants == number for number in range(4)] + [quadrants == 0])
    masks[4, 0] = False  # a part of the first quadrant
    regions = fuse_masks(masks)
    assert len(regions) == 4
    tokens = torch.tensor(noisy(COLOURS[truth], 9).reshape(64, 3)).float()
    bank = references(num_subcategories)
    scores = reference_scores(pool_regions(tokens, (8, 8), regions), bank)
    profiles = torch.stack([reference_scores(each, bank) for each in bank])
    match = match_regions(standardise(scores), standardise(profiles), ranking=ranking)
    labels = 1 + match.labels.numpy()
    if threshold is not None:
        labels = np.where(scores.amax(dim=1).numpy() < threshold, BACKGROUND, labels)
    return labels[paint_regions(regions)].astype(np.uint16)


def quadrant_truth(*classes):
    return np.kron(np.array(classes).reshape(2, 2), np.ones((4, 4), int)).astype(np.uint16)


@pytest.mark.parametrize("ranking", ["plackett_luce", "top_one", "cosine"])
@pytest.mark.parametrize("num_subcategories", [1, 3])
def test_three_colours_are_told_apart_without_a_mistake(ranking, num_subcategories):
    truth = quadrant_truth(RED, GREEN, BLUE, RED)
    counts = ConfusionMatrix(4)
    counts.update(truth, segment(truth, ranking, num_subcategories=num_subcategories))
    assert compute_scores(counts).mean_iou == 1


@pytest.mark.parametrize("ranking", ["plackett_luce", "top_one", "cosine"])
def test_grey_becomes_background_below_a_cosine_of_nine_tenths_and_only_grey(ranking):
    truth = quadrant_truth(RED, GREEN, BLUE, BACKGROUND)
    np.testing.assert_array_equal(segment(truth, ranking, threshold=0.9), truth)
    assert (segment(truth, ranking)[4:, 4:] != BACKGROUND).all()
