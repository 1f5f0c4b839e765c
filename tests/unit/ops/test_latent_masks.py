import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.ops.latent_masks import (
    LEFT_OVER,
    cluster_tokens,
    fuse_labels,
    group_similar,
    merge_seeds,
    mine_latent_groups,
    window_seeds,
    with_singletons,
)

MASKS = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]])


def at_degrees(*degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(each)), math.sin(math.radians(each))] for each in degrees])


def merged(groups) -> list[str]:
    """Add the masks of each group, as the paper's algorithm does."""
    groups = torch.as_tensor(groups)
    return [
        "".join(map(str, MASKS[groups == group].sum(0).tolist())) for group in range(int(groups.max()) + 1)
    ]


EXAMPLE_A = np.array(
    [[1, 0.9, 0.85, 0.1], [0.9, 1, 0.7, 0.2], [0.85, 0.7, 1, 0.3], [0.1, 0.2, 0.3, 1]], np.float32
)


def test_example_a_joins_two_that_are_less_similar_than_the_threshold():
    prose = group_similar(EXAMPLE_A, 0.8, "prose")
    assert merged(prose) == ["111100"]
    assert prose[3] == LEFT_OVER
    assert merged(group_similar(EXAMPLE_A, 0.8, "literal")) == ["111100", "000011"]


def test_example_b_tells_the_readings_apart():
    prose = merge_seeds(at_degrees(0, 35, 50, 85), 0.8, "prose")
    assert merged(prose) == ["111100"]
    assert prose[3] == LEFT_OVER
    assert merged(merge_seeds(at_degrees(0, 35, 50, 85), 0.8, "literal")) == ["111000", "000111"]


def test_example_c():
    seeds = at_degrees(0, 33, 52, 100)
    assert merge_seeds(seeds, 0.8, "prose").tolist() == [0, 0, 0, LEFT_OVER]
    assert merge_seeds(seeds, 0.8, "literal").tolist() == [0, 0, 1, 2]


def test_example_d_ends_where_the_best_similarity_is_the_threshold():
    exact = np.array([[1, 0.8], [0.8, 1]], np.float32)
    assert group_similar(exact, 0.8, "prose").tolist() == [0, 0]
    assert group_similar(exact, 0.8, "literal").tolist() == [0, 1]  # > and not >=, as printed


@pytest.mark.parametrize(
    ("reading", "threshold", "groups"),
    [
        ("prose", 1.01, [LEFT_OVER] * 3),
        ("literal", 1.01, [LEFT_OVER] * 3),
        ("prose", -1.0, [0, 0, 0]),
        ("literal", 1.0, [0, 1, 2]),
        ("prose", 1.0, [LEFT_OVER] * 3),
    ],
)
def test_extreme_thresholds_end(reading, threshold, groups):
    assert merge_seeds(at_degrees(0, 40, 170), threshold, reading).tolist() == groups


def test_no_seed_gives_no_group():
    none = torch.zeros(0, 4)
    assert merge_seeds(none, 0.8).tolist() == []
    assert with_singletons(merge_seeds(none, 0.8)).tolist() == []


def test_a_seed_that_is_not_a_number_joins_nothing():
    similarity = EXAMPLE_A.copy()
    similarity[3] = similarity[:, 3] = np.nan
    assert group_similar(similarity, 0.8, "prose").tolist() == [0, 0, 0, LEFT_OVER]


def loop_over_prose(similarity: np.ndarray, threshold: float) -> list[int]:
    """Follow the supplement's prose word for word."""
    left, groups, found = similarity.astype(np.float32).copy(), [LEFT_OVER] * len(similarity), 0
    np.fill_diagonal(left, -np.inf)
    while left.size and left.max() >= np.float32(threshold):
        row = int(np.argwhere(left == left.max())[0][0])
        members = [row, *np.flatnonzero(left[row] >= np.float32(threshold)).tolist()]
        for member in members:
            groups[member] = found
        left[members, :] = left[:, members] = -np.inf
        found += 1
    return groups


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_fast_way_gives_what_the_plain_loop_gives(seed, threshold):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, 5))[rng.integers(6, size=40)] + 0.4 * rng.normal(size=(40, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = (vectors @ vectors.T).astype(np.float32)
    similarity = np.triu(similarity) + np.triu(similarity, 1).T
    similarity[1], similarity[:, 1] = similarity[0], similarity[:, 0]  # equals, for the order of ties
    assert group_similar(similarity, threshold, "prose").tolist() == loop_over_prose(similarity, threshold)


@pytest.mark.parametrize("reading", ["prose", "literal"])
def test_each_seed_is_used_once_and_groups_are_stars(reading):
    seeds = normalize(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    groups = merge_seeds(seeds, 0.8, reading)
    similarity = seeds @ seeds.T
    for group in range(int(groups.max()) + 1):
        members = (groups == group).nonzero().flatten()
        stars = (similarity[members[:, None], members] >= 0.8 - 1e-6).all(dim=1)
        assert stars.any(), "nobody is similar to all of the group"
    numbered = with_singletons(groups)
    assert sorted(set(numbered.tolist())) == list(range(int(numbered.max()) + 1))


def test_kmeans_moves_seeds_to_the_means():
    tokens = at_degrees(0, 10, 80, 90)
    means, assignment = cluster_tokens(tokens, tokens[[0, 3]], updates=1)
    assert assignment.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(means.norm(dim=1), torch.full((2,), 0.99619), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalize(means, dim=1), at_degrees(5, 85), atol=1e-5, rtol=0)
    cosine = torch.nn.functional.cosine_similarity(means[0], means[1], dim=0)
    assert cosine.item() == pytest.approx(0.17365, abs=1e-5)


def test_seeds_without_a_token_are_left_out_and_numbers_have_no_gap():
    means, assignment = cluster_tokens(at_degrees(0, 1, 90), at_degrees(0, 200, 90), updates=1)
    assert len(means) == 2
    assert assignment.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("grid", "counts"), [(14, (16, 4)), (32, (100, 16)), (2, (1, 1))])
def test_windows_do_not_overlap(grid, counts):
    maps = torch.randn(1, 4, grid, grid)
    assert tuple(len(window_seeds(maps, side)) for side in (3, 7)) == counts


def two_halves(num_images: int = 2, grid: int = 14) -> torch.Tensor:
    """Make maps whose left half shows one thing and whose right half another."""
    maps = torch.zeros(num_images, 4, grid, grid)
    maps[:, 0, :, : grid // 2], maps[:, 1, :, grid // 2 :] = 1, 1
    return maps


@pytest.mark.parametrize("reading", ["prose", "literal"])
def test_mining_finds_two_things_over_two_images(reading):
    votes = mine_latent_groups(two_halves(), reading=reading)
    large = votes[votes.sum(dim=(1, 2, 3)) > 20]
    assert len(large) == 2
    for group in large:  # both window sides vote, in both images, and only in one half
        halves = group.unflatten(2, (2, 7)).amax(dim=3)
        assert sorted(halves.amax(dim=(0, 1)).tolist()) == [0, 2]
        assert (halves.amax(dim=(1, 2)) == 2).all()
    assert (votes.sum(dim=0) == 2).all(), "each window side gives a partition"


def test_every_position_the_same_is_one_giant_group():
    votes = mine_latent_groups(torch.ones(2, 4, 14, 14))
    assert votes.shape == (1, 2, 14, 14)


def test_without_merging_every_seed_is_a_group():
    maps = torch.randn(1, 8, 14, 14, generator=torch.Generator().manual_seed(0))
    assert len(mine_latent_groups(maps, merged=False)) == 20


def label_maps_with_a_free_right_half() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, :, 4:] = IGNORE_INDEX
    return labels, labels == IGNORE_INDEX


def votes_of(*areas: tuple[slice, int]) -> torch.Tensor:
    votes = torch.zeros(len(areas), 1, 4, 4, dtype=torch.int64)
    for group, (columns, count) in enumerate(areas):
        votes[group, :, :, columns] = count
    return votes


def test_fusing_keeps_labels_and_numbers_groups_after_them():
    labels, free = label_maps_with_a_free_right_half()
    fused, kept = fuse_labels(labels, votes_of((slice(0, 4), 1)), free, first_label=5)
    assert kept.tolist() == [0]
    assert (fused[:, :, :4] == 0).all()
    assert (fused[:, :, 4:] == 5).all()


def test_most_votes_win_and_the_earlier_of_equals():
    labels, free = label_maps_with_a_free_right_half()
    votes = votes_of((slice(2, 4), 1), (slice(3, 4), 2), (slice(2, 4), 1))
    fused, kept = fuse_labels(labels, votes, free, first_label=5)
    assert kept.tolist() == [0, 1]  # the third owns no pixel
    assert fused[0, 0].tolist() == [0, 0, 0, 0, 5, 5, 6, 6]


@pytest.mark.parametrize(
    "votes",
    [
        votes_of(),
        votes_of((slice(0, 2), 2)),  # a labelled object
        votes_of((slice(0, 3), 2)),  # two thirds of it labelled
        torch.zeros(1, 1, 4, 4, dtype=torch.int64).index_put(
            (torch.tensor(0),) * 4, torch.tensor(1)
        ),  # one token
    ],
)
def test_groups_that_are_dropped_leave_pixels_as_they_are(votes):
    labels, free = label_maps_with_a_free_right_half()
    fused, kept = fuse_labels(labels, votes, free, first_label=5)
    assert torch.equal(fused, labels)
    assert kept.tolist() == []


def test_a_group_of_one_token_is_kept_where_that_is_asked_for():
    labels, free = label_maps_with_a_free_right_half()
    votes = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    votes[0, 0, 1, 3] = 1
    fused, _ = fuse_labels(labels, votes, free, first_label=5, min_area=1.0)
    assert (fused == 5).sum() == 4


def test_padding_gets_no_group():
    labels, free = label_maps_with_a_free_right_half()
    free = free.clone()
    free[:, 4:] = False
    fused, _ = fuse_labels(labels, votes_of((slice(2, 4), 1)), free, first_label=5, min_area=1.0)
    assert (fused[:, 4:, 4:] == IGNORE_INDEX).all()
    assert (fused[:, :4, 4:] == 5).all()


def test_a_batch_without_a_free_pixel_gets_no_group():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    fused, kept = fuse_labels(labels, votes_of((slice(0, 4), 1)), labels > 0, first_label=5)
    assert torch.equal(fused, labels)
    assert len(kept) == 0
