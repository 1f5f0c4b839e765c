import numpy as np
import pytest

from lexiseg.ops.concept_ranking import LEAST, rank_concepts
from similarity_tables import concepts_of, images_showing, lists_of, rank_table

PERSON, GRASS = 0, 1


def by_concept(ranked, values):
    return dict(zip(ranked.lists[0].tolist(), values.tolist(), strict=True))


def first_example(**changes):
    """Two neighbours are captioned with a person (.30, .31), one with grass (.20); the anchor shows .27 and .24."""
    near = [[0.30, 0.0], [0.31, 0.0], [0.0, 0.20]]
    return rank_table([0.27, 0.24], near, [[PERSON], [PERSON], [GRASS]], **changes)


def test_the_first_example_has_its_published_numbers():
    ranked = first_example()
    assert ranked.lists[0].tolist() == [GRASS, PERSON]
    assert by_concept(ranked, ranked.sigma_a) == pytest.approx({PERSON: 0.8710, GRASS: 0.7742}, abs=1e-4)
    assert by_concept(ranked, ranked.sigma_b) == pytest.approx({PERSON: 0.9205, GRASS: 1.0909}, abs=1e-4)
    assert by_concept(ranked, ranked.scores) == pytest.approx({PERSON: 1.7914, GRASS: 1.8651}, abs=2e-4)


def test_naive_ranking_puts_the_popular_word_first():
    ranked = first_example(ranking="naive")
    assert ranked.lists[0].tolist() == [PERSON, GRASS]
    np.testing.assert_array_equal(ranked.scores, ranked.sigma_a)


def test_the_second_example_has_its_published_numbers():
    near = [[0.28, 0.0, 0.26], [0.26, 0.24, 0.0], [0.0, 0.0, 0.22]]
    ranked = rank_table([0.27, 0.25, 0.18], near, [[0, 2], [0, 1], [2]])
    assert ranked.lists[0].tolist() == [0, 1, 2]
    np.testing.assert_allclose(ranked.sigma_a, [0.9643, 0.8929, 0.6429], atol=1e-4)
    np.testing.assert_allclose(ranked.sigma_b, [1.0, 1.0204, 0.8182], atol=1e-4)
    np.testing.assert_allclose(ranked.scores, [1.9643, 1.9133, 1.4610], atol=2e-4)


def test_scaling_all_similarities_changes_no_score():
    near, named = [[0.3, 0.1], [0.2, 0.25]], [[0], [0, 1]]
    plain = rank_table([0.27, 0.24], near, named)
    half = rank_table([0.135, 0.12], np.array(near) / 2, named)
    np.testing.assert_array_equal(half.lists.concepts, plain.lists.concepts)
    np.testing.assert_allclose(half.sigma_a, plain.sigma_a, rtol=1e-5)
    np.testing.assert_allclose(half.sigma_b, plain.sigma_b, rtol=1e-5)


def test_an_offset_of_one_word_changes_its_first_score_much_and_its_second_not():
    before = rank_table([0.20, 0.25], [[0.20, 0.25]], [[0, 1]])
    after = rank_table([0.30, 0.25], [[0.30, 0.25]], [[0, 1]])
    assert by_concept(before, before.sigma_b)[0] == pytest.approx(1.0, abs=1e-6)
    assert by_concept(after, after.sigma_b)[0] == pytest.approx(1.0, abs=1e-6)
    assert by_concept(after, after.sigma_a)[0] - by_concept(before, before.sigma_a)[0] > 0.15


def test_the_scores_stay_within_their_bounds():
    rng = np.random.default_rng(3)
    for _ in range(50):
        near = rng.uniform(0.02, 0.3, (5, 6))
        named = [rng.choice(6, 3, replace=False).tolist() for _ in range(5)]
        ranked = rank_table(rng.uniform(0.02, 0.3, 6).tolist(), near, named)
        counts = np.bincount(np.concatenate(named), minlength=6)
        assert ranked.sigma_a.max() <= 1 + 1e-6
        assert (ranked.sigma_b < counts[ranked.lists[0]] + 1).all()
        assert (np.diff(ranked.scores) <= 0).all()


def test_alone_the_anchor_compares_with_itself():
    """Its own row counts once, also where it is one of its neighbours."""
    ranked = rank_table([0.2, 0.1], [[0.2, 0.1]], [[0, 1]], anchor_row=0)
    np.testing.assert_allclose(ranked.sigma_b, 1.0, atol=1e-6)
    np.testing.assert_allclose(ranked.sigma_a, [1.0, 0.5], atol=1e-6)
    both = rank_table([0.2, 0.0], [[0.2, 0.0], [0.4, 0.0]], [[0], [0]], anchor_row=0)
    assert both.sigma_b[0] == pytest.approx(0.2 / 0.3, rel=1e-5)  # not 0.2 / (0.8 / 3)


@pytest.mark.parametrize(
    ("named", "expected"),
    [([[], []], []), ([[], [1]], [1]), ([[1], [1]], [1]), ([[0, 1], [1, 2]], [0, 1, 2])],
    ids=["nothing", "one caption silent", "twice the same", "union"],
)
def test_the_archive_is_the_union_of_what_captions_name(named, expected):
    ranked = rank_table([0.2, 0.2, 0.2], [[0.2] * 3, [0.1] * 3], named)
    assert sorted(ranked.lists[0].tolist()) == expected


def test_negative_similarities_do_not_turn_the_order_around():
    ranked = rank_table([-0.1, 0.1], [[-0.3, 0.1]], [[0, 1]])
    assert ranked.lists[0].tolist() == [1, 0]
    assert np.isfinite(ranked.scores).all()
    none = rank_table([-0.1], [[-0.3]], [[0]])
    assert none.sigma_b[0] == pytest.approx(-0.1 / LEAST, rel=1e-5)


def test_equal_scores_go_by_number():
    ranked = rank_table([0.2, 0.2, 0.2], [[0.2, 0.2, 0.2]], [[2, 0, 1]])
    assert ranked.lists[0].tolist() == [0, 1, 2]


def test_many_images_are_ranked_as_each_alone_and_missing_neighbours_are_skipped():
    rng = np.random.default_rng(0)
    vectors = images_showing(rng.uniform(0, 0.3, (40, 8)))
    named = lists_of([rng.choice(8, rng.integers(0, 5), replace=False).tolist() for _ in range(40)])
    rows = rng.integers(0, 40, (30, 6))
    rows[4, 3:] = -1
    rows[5] = -1
    ours = np.full(30, -1)
    together = rank_concepts(vectors[:30], ours, rows, vectors[np.maximum(rows, 0)], named, concepts_of(8))
    for image in range(30):
        one = slice(image, image + 1)
        near = rows[one][:, rows[image] >= 0]
        alone = rank_concepts(vectors[one], ours[one], near, vectors[near], named, concepts_of(8))
        here = slice(together.lists.offsets[image], together.lists.offsets[image + 1])
        np.testing.assert_array_equal(together.lists[image], alone.lists[0])
        np.testing.assert_array_equal(together.scores[here], alone.scores)
    assert len(together.lists[5]) == 0


def test_it_agrees_with_the_formula_written_out():
    rng = np.random.default_rng(1)
    vectors, concepts = images_showing(rng.uniform(0, 0.3, (12, 5))), concepts_of(5)
    named = [rng.choice(5, rng.integers(1, 4), replace=False).tolist() for _ in range(12)]
    rows = rng.permutation(12)[:6][None]
    anchor = int(rows[0, 2])
    ranked = rank_concepts(
        vectors[anchor : anchor + 1], np.array([anchor]), rows, vectors[rows], lists_of(named), concepts
    )
    archive = sorted({c for j in rows[0] for c in named[j]})
    similarity = vectors.astype(np.float64) @ concepts.T
    says = {c: [j for j in rows[0] if c in named[j]] for c in archive}
    mu = max(max([similarity[anchor, c], *similarity[says[c], c]]) for c in archive)
    for place, c in enumerate(ranked.lists[0]):
        mean = np.mean([similarity[j, c] for j in {anchor, *says[c]}])
        assert ranked.sigma_a[place] == pytest.approx(similarity[anchor, c] / mu, rel=1e-5)
        assert ranked.sigma_b[place] == pytest.approx(similarity[anchor, c] / mean, rel=1e-5)
    assert sorted(ranked.lists[0].tolist()) == archive
