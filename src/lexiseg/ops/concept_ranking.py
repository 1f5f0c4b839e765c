"""Rank the concepts that the captions of similar images name (CoCu, Xing et al., NeurIPS 2023).

For an anchor image with unit vector ``a``, neighbours ``j`` with vectors ``a_j`` and the concepts their captions name,
the archive is the union of these. With ``b_c`` the vector of concept ``c`` and ``R(c)`` the neighbours that name it::

    sigma_a(c) = <b_c, a> / mu         mu: the largest similarity in the archive, of the anchor and of all R(c)
    sigma_b(c) = <b_c, a> / mean over R(c) and the anchor of <b_c, .>

The score is their sum (*guided*), or the first alone (*naive*). ``sigma_b`` asks whether the anchor shows the concept at
least as well as the images whose captions do say it; a word that the encoder likes everywhere gains nothing by it.

Readings: the anchor counts once in the mean, also where it is one of its own neighbours; ``mu`` and the mean are kept
above ``LEAST``, since similarities may be negative.
"""

from dataclasses import dataclass
from typing import Literal, no_type_check

import numpy as np
from jaxtyping import Float32, Int32, Int64

from lexiseg.core.compiled import njit
from lexiseg.ops.dot_kernels import dot
from lexiseg.ops.row_bands import for_bands

Ranking = Literal["guided", "naive"]

#: Neither divisor is smaller.
LEAST = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class ConceptLists:
    """Concepts of many images, one list behind the other.

    Attributes:
        offsets: Where the list of each image begins, and at the end where the last one stops.
        concepts: Numbers of concepts.
    """

    offsets: Int64[np.ndarray, " I_1"]
    concepts: Int32[np.ndarray, " S"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, image: int) -> Int32[np.ndarray, " C"]:
        return self.concepts[self.offsets[image] : self.offsets[image + 1]]


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedConcepts:
    """Archives of many images, the best concept of each first; of equally good ones the lower number first.

    Attributes:
        lists: The concepts.
        sigma_a: How well the image shows each, against the best of its archive.
        sigma_b: How well it shows each, against the neighbours that name it.
        scores: What they are sorted by.
    """

    lists: ConceptLists
    sigma_a: Float32[np.ndarray, " S"]
    sigma_b: Float32[np.ndarray, " S"]
    scores: Float32[np.ndarray, " S"]


def rank_concepts(
    anchors: Float32[np.ndarray, "I D"],
    anchor_rows: Int64[np.ndarray, " I"],
    neighbours: Int64[np.ndarray, "I N"],
    neighbour_vectors: Float32[np.ndarray, "I N D"],
    named: ConceptLists,
    concept_vectors: Float32[np.ndarray, "V D"],
    *,
    ranking: Ranking = "guided",
) -> RankedConcepts:
    """Build and rank the archives of images.

    Args:
        anchors: Unit rows.
        anchor_rows: Row of each anchor in the index, -1 where it is not in it.
        neighbours: Rows of the index; -1 for none.
        neighbour_vectors: Their unit vectors.
        named: Concepts that the captions of each row of the index name, none twice.
        concept_vectors: Unit rows.
        ranking: What to sort by.
    """
    table = named.offsets, named.concepts
    known = neighbours >= 0
    starts = named.offsets[np.maximum(neighbours, 0)]
    room = np.where(known, named.offsets[np.maximum(neighbours, 0) + 1] - starts, 0).sum(axis=1)
    places = np.concatenate([[0], np.cumsum(room)]).astype(np.int64)
    concepts = np.empty(places[-1], np.int32)
    sigma_a, sigma_b, scores = (np.empty(places[-1], np.float32) for _ in range(3))
    sizes = np.zeros(len(anchors), np.int64)

    def work(start: int, stop: int) -> None:
        given = anchors, anchor_rows, neighbours, neighbour_vectors, *table, concept_vectors
        results = concepts, sigma_a, sigma_b, scores, sizes
        _rank(*given, ranking == "naive", places, *results, start, stop)

    for_bands(work, len(anchors), min_rows=32)
    kept = np.repeat(places[:-1], sizes) + _within(sizes)
    return RankedConcepts(
        lists=ConceptLists(
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), concepts=concepts[kept]
        ),
        sigma_a=sigma_a[kept],
        sigma_b=sigma_b[kept],
        scores=scores[kept],
    )


def _within(sizes: Int64[np.ndarray, " I"]) -> Int64[np.ndarray, " S"]:
    """Count 0, 1, … within each list."""
    ends = np.cumsum(sizes)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - sizes, sizes)


@njit(cache=True, nogil=True)
@no_type_check
def _rank(
    anchors, anchor_rows, neighbours, neighbour_vectors, offsets, named, concept_vectors, naive,
    places, concepts, sigma_a, sigma_b, scores, sizes, start, stop,
):  # fmt: skip
    place_of = np.full(concept_vectors.shape[0], -1, np.int32)  # of a concept in this image's archive
    for image in range(start, stop):
        first, room = places[image], places[image + 1] - places[image]
        found = np.empty(room, np.int32)
        total, count, own = np.zeros(room), np.zeros(room, np.int64), np.zeros(room)
        size = 0
        largest = -np.inf
        for n in range(neighbours.shape[1]):
            row = neighbours[image, n]
            if row < 0:
                continue
            for s in range(offsets[row], offsets[row + 1]):
                concept = named[s]
                place = place_of[concept]
                if place < 0:
                    place = size
                    place_of[concept] = place
                    found[place] = concept
                    own[place] = dot(concept_vectors[concept], anchors[image])
                    largest = max(largest, own[place])
                    size += 1
                if row != anchor_rows[image]:
                    similarity = dot(concept_vectors[concept], neighbour_vectors[image, n])
                    total[place] += similarity
                    count[place] += 1
                    largest = max(largest, similarity)
        for place in range(size):
            place_of[found[place]] = -1
        for place in range(size):
            a = own[place] / max(largest, LEAST)
            b = own[place] / max((total[place] + own[place]) / (count[place] + 1), LEAST)
            _insert(
                found[place], a, b, a if naive else a + b, first, place, concepts, sigma_a, sigma_b, scores
            )
        sizes[image] = size


@njit(cache=True, nogil=True)
@no_type_check
def _insert(concept, a, b, score, first, size, concepts, sigma_a, sigma_b, scores):
    """Put a concept among the ``size`` that are ranked: by score, and of equals the lower number first."""
    score = np.float32(score)
    place = first + size
    while place > first and (
        scores[place - 1] < score or (scores[place - 1] == score and concepts[place - 1] > concept)
    ):
        concepts[place] = concepts[place - 1]
        sigma_a[place] = sigma_a[place - 1]
        sigma_b[place] = sigma_b[place - 1]
        scores[place] = scores[place - 1]
        place -= 1
    concepts[place] = concept
    sigma_a[place] = a
    sigma_b[place] = b
    scores[place] = score
