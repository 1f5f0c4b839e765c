"""Numbers worked out by hand from the formulas of ProxyCLIP, Trident and CorrCLIP."""

import numpy as np
import pytest
import torch

from lexiseg.ops.proxy_attention import gated_attention, proxy_attention, resize_values
from lexiseg.ops.region_scope import merge_alike, paint_regions, region_vote, scope_attention

FEATURES = torch.tensor([[1.0, 0], [0.8, 0.6], [0, 1], [-1, 0]])
D = torch.tensor([[1.0, 0], [0.96, 0.28], [0.6, 0.8], [0.28, 0.96], [0.8, 0.6], [-1, 0]])
REGIONS = torch.tensor([1, 1, 2, 2, 0, 0], dtype=torch.int32)


def test_proxy_attention_is_that_worked_out_by_hand_and_one_image_is_not_anothers():
    other = torch.nn.functional.normalize(torch.randn(4, 2), dim=1)
    found = proxy_attention(torch.stack([FEATURES, other]))[0]
    expected = [
        [0.645656, 0.354344, 0, 0],
        [0.296654, 0.540539, 0.162807, 0],
        [0, 0.231475, 0.768525, 0],
        [0, 0, 0, 1],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)
    values = torch.tensor([[1.0, 0], [0, 1], [2, 2], [3, -1]])
    mixed = [[0.645656, 0.354344], [0.622268, 0.866153], [1.53705, 1.768525], [3, -1]]
    torch.testing.assert_close(found @ values, torch.tensor(mixed), atol=1e-5, rtol=0)


def test_equal_features_and_orthogonal_ones_leave_every_patch_its_own_value():
    flat = torch.tensor([[1.0, 0]]).expand(5, 2)
    torch.testing.assert_close(proxy_attention(flat[None])[0], torch.eye(5))
    torch.testing.assert_close(proxy_attention(torch.eye(5)[None])[0], torch.eye(5))


def test_blocks_of_equal_features_mix_evenly_inside_and_not_between():
    blocks = torch.eye(2).repeat_interleave(3, dim=0)
    expected = torch.block_diag(torch.full((3, 3), 1 / 3), torch.full((3, 3), 1 / 3))
    torch.testing.assert_close(proxy_attention(blocks[None])[0], expected)


def test_values_are_resized_by_head_to_a_grid_that_is_not_square():
    values = torch.randn(2, 3, 6, 4)
    maps = values.transpose(2, 3).reshape(2 * 12, 1, 2, 3)
    expected = torch.nn.functional.interpolate(maps, size=(4, 6), mode="bilinear")
    expected = expected.reshape(2, 3, 4, 24).transpose(2, 3)
    torch.testing.assert_close(resize_values(values, (2, 3), (4, 6)), expected)


W1 = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
W2 = torch.tensor([[0.4, 0.4, 0.2], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
V1 = torch.tensor([[1.0, 0], [0.6, 0.8], [0, 1]])
V2 = torch.tensor([[1.0, 0], [0, 1], [-0.6, 0.8]])


def test_gated_attention_is_that_worked_out_by_hand():
    found = gated_attention(lambda: [(W1, V1), (W2, V2)])
    expected = [[0.75, 0.25, 0], [0, 1, 0], [0, 0.176471, 0.823529]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)


def test_identity_stays_identity_and_no_limit_keeps_all_attention():
    for factor in (-100.0, 0.0, 1.2):
        found = gated_attention(lambda: [(torch.eye(3), V1), (torch.eye(3), V2)], factor=factor)
        assert torch.equal(found, torch.eye(3))
    torch.testing.assert_close(gated_attention(lambda: [(W1, V1), (W2, V2)], factor=-1e6), (W1 + W2) / 2)
    nothing = gated_attention(lambda: [(torch.zeros(3, 3), V1)])
    assert torch.equal(nothing, torch.eye(3)), "a row that keeps nothing keeps itself"


def test_limits_below_zero_can_be_replaced():
    apart = torch.tensor([[1.0, 0], [-1, 0], [-1, 0]])
    even = torch.full((3, 3), 1 / 3)
    loose, strict = (gated_attention(lambda: [(even, apart)], negative_limit=limit) for limit in (None, 0.6))
    torch.testing.assert_close(loose[0], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(strict, loose)


def test_scope_attention_is_that_worked_out_by_hand():
    similarity = D @ D.T
    assert float(similarity.mean()) == pytest.approx(0.3872, abs=1e-4)
    expected = [
        [0.434504, 0.370260, 0, 0, 0.195235, 0],
        [0.324467, 0.380766, 0, 0, 0.294767, 0],
        [0, 0, 0.380766, 0.294767, 0.324467, 0],
        [0, 0, 0.348168, 0.449747, 0.202084, 0],
        [0.127471, 0.219618, 0.241747, 0.127471, 0.283692, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    torch.testing.assert_close(
        scope_attention(similarity, REGIONS), torch.tensor(expected), atol=1e-5, rtol=0
    )


def test_regions_are_merged_in_chains_where_they_are_near_and_the_unsegmented_never_is():
    assert torch.equal(merge_alike(REGIONS, D), REGIONS)  # distance 0.430790
    assert merge_alike(REGIONS, D, max_distance=0.44).tolist() == [1, 1, 1, 1, 0, 0]
    angles = torch.tensor([0.0, 0.5, 1.0, 3.0])
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    chain = torch.tensor([7, 3, 9, 4], dtype=torch.int32)
    merged = merge_alike(chain, rows).tolist()
    assert merged[0] == merged[1] == merged[2] != merged[3]
    # sklearn's DBSCAN with one sample a cluster is the definition.
    from sklearn.cluster import DBSCAN

    many = torch.nn.functional.normalize(
        torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    numbers = torch.arange(1, 13, dtype=torch.int32)
    distance = (1 - many @ many.T).clamp(min=0).numpy()
    labels = DBSCAN(eps=0.2, min_samples=1, metric="precomputed").fit_predict(distance)
    found = merge_alike(numbers, many).numpy()
    assert np.array_equal(labels[:, None] == labels, found[:, None] == found)


@pytest.mark.parametrize("regions", [[0] * 6, [5] * 6, [1, 2, 3, 4, 5, 6]])
def test_all_no_or_one_region_a_patch_have_rows_that_sum_to_one(regions):
    regions = torch.tensor(regions, dtype=torch.int32)
    for similarity in (D @ D.T, torch.ones(6, 6)):
        weights = scope_attention(similarity, regions)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))
        if len(regions.unique()) == 6 or (not regions.any() and similarity[0, 5] == 1):
            assert torch.equal(weights, torch.eye(6))
        elif regions[0] == 5 and similarity[0, 5] == 1:
            torch.testing.assert_close(weights, torch.full((6, 6), 1 / 6))


def test_larger_masks_are_painted_over_smaller_ones_and_none_is_an_answer():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, :, :2], masks[1, 0, 0] = True, True
    assert paint_regions(masks).tolist() == [[2, 2, 0], [2, 2, 0]]
    assert not paint_regions(np.zeros((0, 2, 3), bool)).any()


def test_regions_vote_once_and_pixels_outside_keep_their_label():
    labels = np.array([[3, 3, 1], [1, 1, 2]], np.uint16)
    regions = np.array([[1, 1, 1], [2, 2, 0]], np.int32)
    found = region_vote(labels, regions)
    assert found.tolist() == [[3, 3, 3], [1, 1, 2]]
    np.testing.assert_array_equal(region_vote(found, regions), found)
    pixels = np.arange(1, 7, dtype=np.int32).reshape(2, 3)
    np.testing.assert_array_equal(region_vote(labels, pixels), labels)
