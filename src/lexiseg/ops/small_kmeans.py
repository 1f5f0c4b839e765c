"""k-means of very many very small sets, such as the concepts of one image.

A set of a few dozen vectors is described by the products of its members alone (its Gram matrix): distances to a
centroid follow from them, so a round costs a few thousand additions however long the vectors are, and one compiled
loop goes over all sets. Beginnings are greedy k-means++ (Arthur and Vassilvitskii, 2007) with random numbers that depend on
the seed only; a cluster that loses its last member takes the vector that lies worst, as scikit-learn's does.

``ops.spherical_kmeans`` is for one large set.
"""

from typing import Literal, no_type_check

import numpy as np
from jaxtyping import Float32, Int16

from lexiseg.core.compiled import njit
from lexiseg.ops.concept_ranking import ConceptLists
from lexiseg.ops.dot_kernels import dot
from lexiseg.ops.row_bands import for_bands

Distance = Literal["euclidean", "spherical"]


def cluster_lists(
    lists: ConceptLists,
    vectors: Float32[np.ndarray, "V D"],
    *,
    distance: Distance = "euclidean",
    seed: int = 0,
    restarts: int = 5,
    rounds: int = 100,
) -> Int16[np.ndarray, " S"]:
    """Cluster each list of more than two into half as many clusters, rounded up.

    Args:
        lists: Numbers of vectors.
        vectors: Unit rows.
        distance: ``euclidean`` takes the mean as centroid, ``spherical`` the direction of the mean.
        seed: Of the beginnings; every list begins with the same numbers, so that equal lists give equal clusters.
        restarts: Beginnings; the one with the least inertia is kept, the first of equals.
        rounds: Rounds at most; it ends when nothing changes.

    Returns:
        The cluster of each member, numbered within its list in order of appearance; -1 throughout lists of one or
        two. There are fewer clusters where fewer vectors differ.
    """
    clusters = np.full(len(lists.concepts), -1, np.int16)

    def work(start: int, stop: int) -> None:
        spherical = distance == "spherical"
        _cluster(
            lists.offsets, lists.concepts, vectors, spherical, seed, restarts, rounds, clusters, start, stop
        )

    for_bands(work, len(lists), min_rows=16)
    return clusters


@njit(cache=True, nogil=True)
@no_type_check
def _cluster(offsets, concepts, vectors, spherical, seed, restarts, rounds, clusters, start, stop):
    for image in range(start, stop):
        first, size = offsets[image], offsets[image + 1] - offsets[image]
        if size <= 2:
            continue
        products = np.empty((size, size))
        for i in range(size):
            for j in range(i + 1):
                products[i, j] = products[j, i] = dot(
                    vectors[concepts[first + i]], vectors[concepts[first + j]]
                )
        best, least = np.zeros(size, np.int64), np.inf
        state = np.uint64(seed)
        for _ in range(restarts):
            chosen, state = _spread_out(products, (size + 1) // 2, state)
            assignment, inertia = _lloyd(products, chosen, spherical, rounds)
            if inertia < least:
                best, least = assignment, inertia
        _number_by_appearance(best, clusters[first : first + size])


@njit(cache=True, nogil=True)
@no_type_check
def _unit(state):
    """Draw from [0, 1) by SplitMix64 (Steele et al., 2014); return the next state too."""
    state += np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return float(z >> np.uint64(11)) / 9007199254740992.0, state


@njit(cache=True, nogil=True)
@no_type_check
def _spread_out(products, num, state):
    """Choose beginnings by greedy k-means++.

    Candidates are drawn with a chance that grows with their squared distance from those chosen; of a few, the one
    that leaves the least distance to all is taken, as in scikit-learn.
    """
    size = products.shape[0]
    chosen = np.empty(num, np.int64)
    nearest, left, closest = np.full(size, np.inf), np.empty(size), np.empty(size)
    for k in range(num):
        trials = 1 if k == 0 else 2 + int(np.log(num))
        least = np.inf
        total = 0.0 if k == 0 else nearest.sum()
        for _ in range(trials):
            draw, state = _unit(state)
            pick = int(draw * size)  # for the first, and where all lie on those chosen: any will do
            if total > 0:
                rest = draw * total
                for i in range(size):
                    if nearest[i] > 0:
                        pick = i
                        rest -= nearest[i]
                        if rest < 0:
                            break
            remaining = 0.0
            for i in range(size):
                away = products[i, i] + products[pick, pick] - 2 * products[i, pick]
                left[i] = min(nearest[i], away if away > 1e-12 else 0.0)  # rounding is no distance
                remaining += left[i]
            if remaining < least:
                chosen[k], least = pick, remaining
                closest[:] = left
        nearest[:] = closest
    return chosen, state


@njit(cache=True, nogil=True)
@no_type_check
def _lloyd(products, chosen, spherical, rounds):
    """Assign and average until nothing changes; inertia is the sum of squared distances to the centroids."""
    size, num = products.shape[0], chosen.shape[0]
    distances = np.empty((size, num))
    for i in range(size):
        for k in range(num):
            c = chosen[k]
            distances[i, k] = products[i, i] + products[c, c] - 2 * products[i, c]
    assignment = np.full(size, -1, np.int64)
    for _ in range(rounds):
        changed = False
        for i in range(size):
            best = np.argmin(distances[i])
            changed |= best != assignment[i]
            assignment[i] = best
        if not changed:
            break
        _fill_empty(distances, assignment)
        _measure(products, assignment, spherical, distances)
    inertia = 0.0
    for i in range(size):
        inertia += distances[i, assignment[i]]
    return assignment, inertia


@njit(cache=True, nogil=True)
@no_type_check
def _fill_empty(distances, assignment):
    """Assign each cluster without members the vector that lies worst, where one does not lie on its centroid."""
    size, num = distances.shape
    counts = np.zeros(num, np.int64)
    for i in range(size):
        counts[assignment[i]] += 1
    for k in range(num):
        if counts[k]:
            continue
        worst, far = -1, 1e-12
        for i in range(size):
            if counts[assignment[i]] > 1 and distances[i, assignment[i]] > far:
                worst, far = i, distances[i, assignment[i]]
        if worst >= 0:
            counts[assignment[worst]] -= 1
            assignment[worst] = k
            counts[k] = 1
            distances[worst, k] = 0.0


@njit(cache=True, nogil=True)
@no_type_check
def _measure(products, assignment, spherical, distances):
    """Compute squared distances to the centroids, out of products alone; infinite to a cluster without members."""
    size, num = distances.shape
    sums = np.zeros((size, num))  # of the products of a vector with the members of a cluster
    counts = np.zeros(num, np.int64)
    inner = np.zeros(num)
    for j in range(size):
        k = assignment[j]
        counts[k] += 1
        for i in range(size):
            sums[i, k] += products[i, j]
    for j in range(size):
        inner[assignment[j]] += sums[j, assignment[j]]
    for k in range(num):
        length = 0.0
        if counts[k]:
            length = np.sqrt(max(inner[k], 1e-300)) if spherical else float(counts[k])
        for i in range(size):
            if counts[k] == 0:
                distances[i, k] = np.inf
            elif spherical:
                distances[i, k] = max(0.0, products[i, i] + 1.0 - 2 * sums[i, k] / length)
            else:
                distances[i, k] = max(
                    0.0, products[i, i] + inner[k] / (length * length) - 2 * sums[i, k] / length
                )


@njit(cache=True, nogil=True)
@no_type_check
def _number_by_appearance(assignment, into):
    numbers = np.full(assignment.shape[0], -1, np.int16)
    count = 0
    for i in range(assignment.shape[0]):
        if numbers[assignment[i]] < 0:
            numbers[assignment[i]] = count
            count += 1
        into[i] = numbers[assignment[i]]
