import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from lexiseg.ops.region_pooling import patch_coverage, pool_regions, region_weights


def random_masks(seed, shape):
    return np.random.default_rng(seed).random(shape) < 0.4


def overlaps(size, num):
    """Share of each of ``num`` patches in each of ``size`` pixels, by the definition."""
    edges = np.arange(num + 1) * size / num
    pixels = np.arange(size)
    low = np.maximum(edges[:-1, None], pixels)
    return np.clip(np.minimum(edges[1:, None], pixels + 1) - low, 0, None)


def test_hand_check_of_two_by_two_tokens():
    tokens = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    masks = np.array([[[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]], dtype=bool)
    assert patch_coverage(masks, (2, 2))[0].ravel().tolist() == [1, 0.5, 0.5, 0]
    assert pool_regions(tokens, (2, 2), masks)[0].tolist() == pytest.approx([0.83205, 0.55470], abs=5e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 13),
    st.integers(1, 13),
    st.integers(0, 99),
)
def test_coverage_is_the_exact_share_at_any_size(size, height, width, seed):
    masks = random_masks(seed, (3, *size))
    expected = np.einsum("iy,qyx,jx->qij", overlaps(size[0], height), masks, overlaps(size[1], width))
    expected /= (size[0] / height) * (size[1] / width)
    np.testing.assert_allclose(patch_coverage(masks, (height, width)), expected, atol=1e-6)


def test_patches_of_more_than_255_rows_are_counted_whole():
    masks = np.ones((1, 600, 3), dtype=bool)
    assert patch_coverage(masks, (1, 1)).item() == 1


def test_a_mask_of_everything_gives_the_mean_of_all_tokens():
    tokens = torch.randn(37 * 29, 16, generator=torch.Generator().manual_seed(0))
    pooled = pool_regions(tokens, (37, 29), np.ones((1, 100, 77), dtype=bool))
    torch.testing.assert_close(pooled[0], normalize(tokens.mean(0), dim=0), atol=1e-4, rtol=1e-4)


def test_all_regions_at_once_equal_one_after_the_other():
    tokens = torch.randn(9 * 7, 5, generator=torch.Generator().manual_seed(1))
    masks = random_masks(2, (6, 50, 60))
    together = pool_regions(tokens, (9, 7), masks)
    for mask, feature in zip(masks, together, strict=True):
        weights = torch.from_numpy(patch_coverage(mask[None], (9, 7))[0].ravel())
        alone = (tokens * weights[:, None]).sum(0) / weights.sum()
        torch.testing.assert_close(feature, normalize(alone, dim=0))


def test_scaling_the_tokens_changes_nothing():
    tokens = torch.randn(12, 4, generator=torch.Generator().manual_seed(3))
    masks = random_masks(4, (2, 30, 40))
    torch.testing.assert_close(pool_regions(tokens, (3, 4), masks), pool_regions(7 * tokens, (3, 4), masks))


def test_a_mask_smaller_than_half_a_patch_takes_the_token_it_covers_most():
    tokens = torch.eye(4)
    mask = np.zeros((1, 20, 20), dtype=bool)
    mask[0, 4:7, 8:14] = True  # 18 of 100 pixels of a patch, twice as many on the right
    mask[0, 4:7, 8] = False
    assert region_weights(mask, (2, 2))[0].tolist() == [0, 1, 0, 0]
    assert pool_regions(tokens, (2, 2), mask)[0].tolist() == [0, 1, 0, 0]


def test_weights_sum_to_one_but_for_empty_masks():
    masks = random_masks(5, (3, 33, 21))
    masks[1] = False
    sums = region_weights(masks, (4, 5)).sum(axis=1)
    np.testing.assert_allclose(sums, [1, 0, 1], atol=1e-6)
    assert pool_regions(torch.randn(20, 3), (4, 5), masks)[1].tolist() == [0, 0, 0]


def test_no_mask_gives_no_feature():
    pooled = pool_regions(torch.randn(20, 3), (4, 5), np.zeros((0, 30, 30), dtype=bool))
    assert pooled.shape == (0, 3)
