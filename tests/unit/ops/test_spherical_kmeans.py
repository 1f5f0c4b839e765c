import itertools

import pytest
import torch
from torch.nn.functional import normalize

from lexiseg.core.errors import InputError
from lexiseg.ops.spherical_kmeans import spherical_kmeans


def three_directions(sizes=(20, 12, 8), noise=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(6)[:3].repeat_interleave(torch.tensor(sizes), dim=0)
    return centres + noise * torch.randn(len(centres), 6, generator=generator)


def test_directions_are_found_largest_group_first():
    clusters = spherical_kmeans(three_directions(), 3)
    assert clusters.assignment.tolist() == [0] * 20 + [1] * 12 + [2] * 8
    torch.testing.assert_close(clusters.centroids.norm(dim=1), torch.ones(3))
    assert (clusters.centroids.diagonal() > 0.99).all()


def test_length_does_not_matter_only_direction():
    vectors = three_directions()
    scaled = vectors * torch.linspace(0.1, 50, len(vectors))[:, None]
    plain, other = spherical_kmeans(vectors, 3), spherical_kmeans(scaled, 3)
    assert plain.assignment.tolist() == other.assignment.tolist()
    torch.testing.assert_close(plain.centroids, other.centroids)


def test_one_group_is_the_mean_direction():
    vectors = three_directions()
    clusters = spherical_kmeans(vectors, 1)
    torch.testing.assert_close(clusters.centroids[0], normalize(normalize(vectors).mean(0), dim=0))


def test_no_grouping_of_few_vectors_is_better():
    vectors = normalize(torch.randn(7, 3, generator=torch.Generator().manual_seed(5)))
    found = spherical_kmeans(vectors, 2, restarts=50).objective
    best = max(
        sum(vectors[[g == label for g in groups]].sum(0).norm().item() for label in (0, 1)) / 7
        for groups in itertools.product((0, 1), repeat=7)
    )
    assert found == pytest.approx(best, abs=1e-6)


def test_more_groups_never_fit_worse_and_as_many_as_vectors_fit_exactly():
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(2))
    objectives = [spherical_kmeans(vectors, groups, restarts=30).objective for groups in (1, 2, 4, 9)]
    assert objectives == sorted(objectives)
    assert objectives[-1] == pytest.approx(1)
    assert len(spherical_kmeans(vectors, 50).centroids) == 9


def test_the_best_of_many_beginnings_is_kept():
    vectors = torch.randn(60, 4, generator=torch.Generator().manual_seed(6))
    single = [spherical_kmeans(vectors, 8, restarts=1, seed=seed).objective for seed in range(6)]
    many = [spherical_kmeans(vectors, 8, restarts=30, seed=seed).objective for seed in range(6)]
    assert sum(many) / 6 > max(single)


def test_equal_vectors_give_one_group_however_many_are_wanted():
    clusters = spherical_kmeans(torch.ones(8, 3), 5)
    assert clusters.centroids.shape == (1, 3)
    assert clusters.assignment.tolist() == [0] * 8


def test_every_centroid_is_the_mean_direction_of_its_group():
    vectors = torch.randn(40, 5, generator=torch.Generator().manual_seed(3))
    clusters = spherical_kmeans(vectors, 6)
    for group, centroid in enumerate(clusters.centroids):
        members = normalize(vectors[clusters.assignment == group])
        torch.testing.assert_close(centroid, normalize(members.sum(0), dim=0))
    assert (clusters.assignment.bincount().diff() <= 0).all()


def test_the_same_seed_gives_the_same_groups():
    vectors = torch.randn(50, 8, generator=torch.Generator().manual_seed(4))
    first, second = (spherical_kmeans(vectors, 5, seed=9) for _ in range(2))
    assert first.assignment.tolist() == second.assignment.tolist()
    assert torch.equal(first.centroids, second.centroids)


def test_no_vector_or_no_group_is_refused():
    with pytest.raises(InputError, match=r"found 0 vectors and 2 groups; expected one vector or more"):
        spherical_kmeans(torch.zeros(0, 3), 2)
    with pytest.raises(InputError, match=r"found 1 vectors and 0 groups"):
        spherical_kmeans(torch.ones(1, 3), 0)


def test_one_zero_vector_is_no_direction_but_no_accident_either():
    clusters = spherical_kmeans(torch.zeros(1, 3), 1)
    assert clusters.centroids.isfinite().all()
