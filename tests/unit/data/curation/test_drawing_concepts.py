from collections import Counter

import numpy as np
import pytest

from lexiseg.data.curation.drawing_concepts import draw_concepts, visit_generator, visit_texts

SCORES = np.array([2.0, 1.9, 1.8, 1.5, 1.2], np.float32)
CLUSTERS = np.array([0, 1, 0, 2, 1], np.int16)


def draws(scores, clusters, sampling, count=3, times=3000):
    generator = np.random.default_rng(0)
    return [draw_concepts(scores, clusters, generator, sampling=sampling, count=count) for _ in range(times)]


@pytest.mark.exhaustive
def test_clusters_are_drawn_by_the_softmax_of_their_mean_scores():
    scores = np.array([1.95, 1.91, 1.60, 1.50], np.float32)  # means 1.93 and 1.55
    first = Counter(
        int(each[0] >= 2) for each in draws(scores, np.array([0, 0, 1, 1]), "cluster", times=10_000)
    )
    assert first[0] / 10_000 == pytest.approx(0.5939, abs=0.015)
    assert first[1] / 10_000 == pytest.approx(0.4061, abs=0.015)


def test_inside_a_cluster_concepts_are_drawn_by_the_softmax_of_their_scores():
    scores = np.array([3.0, 1.0, 2.0], np.float32)
    only = Counter(each[0] for each in draws(scores, np.array([0, 0, 1]), "cluster", count=1) if each[0] != 2)
    assert only[0] / sum(only.values()) == pytest.approx(np.exp(2) / (1 + np.exp(2)), abs=0.03)


def test_three_clusters_give_three_meanings_at_every_visit():
    for drawn in draws(SCORES, CLUSTERS, "cluster", times=500):
        assert sorted(CLUSTERS[drawn].tolist()) == [0, 1, 2]


def test_two_clusters_give_both_and_then_go_on_without_repetition():
    clusters = np.array([0, 0, 0, 0, 1])
    for drawn in draws(SCORES, clusters, "cluster", times=300):
        assert set(clusters[drawn[:2]]) == {0, 1}
        assert len(set(drawn)) == 3


@pytest.mark.parametrize("sampling", ["top", "softmax", "cluster"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5])
def test_no_concept_comes_twice_and_none_is_invented(sampling, size):
    clusters = CLUSTERS[:size] if size > 2 else None
    for drawn in draws(SCORES[:size], clusters, sampling, times=100):
        assert len(drawn) == len(set(drawn)) == min(3, size)
        assert all(0 <= place < size for place in drawn)


def test_top_takes_the_best():
    assert draws(SCORES, CLUSTERS, "top", times=2) == [[0, 1, 2]] * 2


def test_softmax_draws_by_score():
    first = Counter(each[0] for each in draws(SCORES, None, "softmax", count=1))
    chances = np.exp(SCORES) / np.exp(SCORES).sum()
    for place in range(5):
        assert first[place] / 3000 == pytest.approx(chances[place], abs=0.03)


def test_a_visit_depends_on_seed_record_and_visit_only():
    def drawn(*visit):
        return draw_concepts(SCORES, CLUSTERS, visit_generator(*visit))

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({tuple(drawn(0, 7, visit)) for visit in range(30)}) > 5
    assert len({tuple(drawn(0, record, 0)) for record in range(30)}) > 5
    assert len({tuple(drawn(seed, 0, 0)) for seed in range(30)}) > 5


TEMPLATES = ("a photo of a {}", "the {} in a scene", "{}")


@pytest.mark.parametrize(("size", "copies"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_there_are_always_four_texts_and_the_caption_fills_gaps(size, copies):
    concepts = ["dog", "race car", "sky"][:size]
    texts = visit_texts("a caption", concepts, TEMPLATES, np.random.default_rng(0))
    assert len(texts) == 4
    assert texts[0] == "a caption"
    assert texts[1:].count("a caption") == copies
    for text, concept in zip(texts[1:], concepts, strict=False):
        assert text in {template.replace("{}", concept) for template in TEMPLATES}


def test_an_archive_of_five_gives_three_words():
    drawn = draw_concepts(SCORES, CLUSTERS, np.random.default_rng(0))
    names = [f"word{place}" for place in drawn]
    assert "a caption" not in visit_texts("a caption", names, TEMPLATES, np.random.default_rng(0))[1:]


def test_uniform_scores_over_a_captions_nouns_are_groupvits_noun_mode():
    """If the archive is the caption's own nouns and all score alike, words are drawn uniformly without replacement."""
    scores = np.ones(4, np.float32)
    together = Counter(frozenset(each) for each in draws(scores, None, "softmax"))
    assert len(together) == 4
    for count in together.values():
        assert count / 3000 == pytest.approx(0.25, abs=0.03)
