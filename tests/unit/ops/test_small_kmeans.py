import numpy as np
import pytest

from lexiseg.ops.small_kmeans import cluster_lists
from similarity_tables import lists_of


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(count, dim=16, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((count, dim)))


def inertia(vectors, clusters):
    return sum(
        ((vectors[clusters == k] - vectors[clusters == k].mean(axis=0)) ** 2).sum()
        for k in np.unique(clusters)
    )


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 0), (2, 0), (3, 2), (4, 2), (5, 3), (11, 6)])
def test_half_as_many_clusters_rounded_up_and_none_for_two(size, expected):
    clusters = cluster_lists(lists_of([list(range(size))]), random_vectors(12))
    assert len(clusters) == size
    assert sorted(set(clusters.tolist()) - {-1}) == list(range(expected))
    assert (clusters >= 0).all() == (size > 2) or size == 0


def test_the_same_seed_gives_the_same_partition_wherever_a_list_stands():
    vectors = random_vectors(30)
    one, other = list(range(3, 14)), list(range(15, 28))
    alone = cluster_lists(lists_of([one]), vectors)
    together = cluster_lists(lists_of([other, one, [1, 2], one]), vectors)
    np.testing.assert_array_equal(together[13:24], alone)
    np.testing.assert_array_equal(together[26:], alone)
    np.testing.assert_array_equal(cluster_lists(lists_of([one]), vectors), alone)


def test_clusters_are_numbered_as_they_appear():
    clusters = cluster_lists(lists_of([list(range(20))]), random_vectors(20))
    assert clusters[np.sort(np.unique(clusters, return_index=True)[1])].tolist() == list(range(10))


@pytest.mark.parametrize("distance", ["euclidean", "spherical"])
def test_synonyms_come_together(distance):
    rng = np.random.default_rng(2)
    meanings = random_vectors(6, seed=5)
    vectors = unit(np.repeat(meanings, 2, axis=0) + 0.05 * rng.standard_normal((12, 16)))
    order = rng.permutation(12)
    clusters = cluster_lists(lists_of([order.tolist()]), vectors, distance=distance)
    for one in range(12):
        for other in range(12):
            same = order[one] // 2 == order[other] // 2
            assert (clusters[one] == clusters[other]) == same


def test_identical_vectors_share_a_cluster_and_leave_fewer():
    vectors = np.repeat(random_vectors(2), [5, 3], axis=0)
    clusters = cluster_lists(lists_of([list(range(8))]), vectors)
    assert clusters.tolist() == [0] * 5 + [1] * 3
    same = np.repeat(random_vectors(1), 7, axis=0)
    assert cluster_lists(lists_of([list(range(7))]), same).tolist() == [0] * 7


def test_it_is_as_good_as_scikit_learn():
    from sklearn.cluster import KMeans

    vectors = random_vectors(60, dim=8)
    rng = np.random.default_rng(4)
    lists = [rng.choice(60, size, replace=False).tolist() for size in (3, 8, 20) for _ in range(15)]
    clusters = np.split(
        cluster_lists(lists_of(lists), vectors), np.cumsum([len(each) for each in lists])[:-1]
    )
    ours = [inertia(vectors[each], mine) for each, mine in zip(lists, clusters, strict=True)]
    theirs = [
        KMeans((len(each) + 1) // 2, n_init=5, max_iter=100, random_state=0).fit(vectors[each]).inertia_
        for each in lists
    ]
    assert np.mean(np.array(ours) / theirs) < 1.01  # its own other seeds: 1.002


def test_it_is_a_fixed_point_of_k_means():
    """scikit-learn, begun from our centroids, moves nothing."""
    from sklearn.cluster import KMeans

    vectors = random_vectors(15)
    clusters = cluster_lists(lists_of([list(range(15))]), vectors)
    centroids = np.stack([vectors[clusters == k].mean(axis=0) for k in range(8)])
    theirs = KMeans(8, init=centroids, n_init=1).fit(vectors)
    np.testing.assert_array_equal(theirs.labels_, clusters)
