"""Draw a few of an image's curated concepts at each visit, and make the texts of the visit.

Readings: softmax draws are without replacement; clusters are drawn without replacement, and where all have been drawn
once the draw goes on among those that still have a concept, so that no concept comes twice at one visit.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

#: How concepts are drawn: the best ones, by their scores, or by their scores from different clusters.
Sampling = Literal["top", "softmax", "cluster"]

#: Concepts at one visit.
NUM_CONCEPTS = 3


def visit_generator(seed: int, record: int, visit: int) -> np.random.Generator:
    """Make the random numbers of one visit of one image: the same whatever else was visited before.

    Args:
        seed: Of the run.
        record: Number of the image.
        visit: How often it was visited before, or the epoch.
    """
    return np.random.default_rng((seed, record, visit))


def draw_concepts(
    scores: Float[np.ndarray, " C"],
    clusters: Int[np.ndarray, " C"] | None,
    generator: np.random.Generator,
    *,
    sampling: Sampling = "cluster",
    count: int = NUM_CONCEPTS,
) -> list[int]:
    """Draw concepts of one image, none twice.

    Args:
        scores: Of each concept, the largest first.
        clusters: Of each concept; None where there are too few to cluster: then ``cluster`` is ``softmax``.
        generator: Of this visit.
        sampling: How.
        count: Concepts wanted; fewer where there are fewer.

    Returns:
        Places of the concepts drawn, in the order drawn.
    """
    if sampling == "top":
        return list(range(min(count, len(scores))))
    if sampling == "softmax" or clusters is None:
        return _without_replacement(scores, count, generator)
    members = [np.flatnonzero(clusters == number) for number in np.unique(clusters)]
    means = np.array([scores[places].mean() for places in members])
    drawn: list[int] = []
    while len(drawn) < min(count, len(scores)):
        left = [place for place in range(len(members)) if len(members[place])]
        for pick in _without_replacement(means[left], count - len(drawn), generator):
            places = members[left[pick]]
            one = _without_replacement(scores[places], 1, generator)[0]
            drawn.append(int(places[one]))
            members[left[pick]] = np.delete(places, one)
    return drawn


def _without_replacement(
    scores: Float[np.ndarray, " C"], count: int, generator: np.random.Generator
) -> list[int]:
    """Draw one after the other with softmax chances among those left: the largest of scores with Gumbel noise."""
    noisy = scores.astype(np.float64) + generator.gumbel(size=len(scores))
    return np.argsort(-noisy, kind="stable")[:count].tolist()


def visit_texts(
    caption: str,
    concepts: Sequence[str],
    templates: Sequence[str],
    generator: np.random.Generator,
    *,
    count: int = NUM_CONCEPTS,
) -> tuple[str, ...]:
    """Make the texts of one visit: the caption, then ``count`` texts for words.

    Args:
        caption: Of the image.
        concepts: As drawn, at most ``count``.
        templates: Sentences with ``{}``; each concept is put into one drawn at random.
        generator: Of this visit.
        count: Texts for words; the caption stands in for concepts that are missing.
    """
    chosen = generator.integers(len(templates), size=len(concepts))
    prompted = [templates[t].replace("{}", concept) for t, concept in zip(chosen, concepts, strict=True)]
    return (caption, *prompted, *[caption] * (count - len(prompted)))
