import numpy as np

from lexiseg.data.partial_labels.batches import PairingTable

# 0 and 1 are unseen and often together; 5 to 7 are seen
TAGS = [{0, 1}, {0, 1}, {0}, {0, 2}, {1}, set(), set(), {3}]
SEEN = [{5}, {5}, {6}, {6}, {5}, {6}, {7}, {5}]


def table(**changes) -> PairingTable:
    frozen = [frozenset(each) for each in TAGS], [frozenset(each) for each in SEEN]
    return PairingTable(*frozen, 8, **changes)


def partners(index: int, **changes) -> set[int]:
    pairs = table(**changes)
    return {pairs.draw(index, np.random.default_rng(seed)) for seed in range(300)}


def test_a_partner_shares_exactly_one_unseen_class():
    assert partners(0) == {2, 3, 4}  # not 1, which has both
    assert partners(1) == {2, 3, 4}


def test_an_image_with_one_unseen_class_is_paired_through_it():
    assert partners(2) == {0, 1, 3}
    assert partners(4) == {0, 1}


def test_the_release_pairs_such_an_image_through_a_seen_class():
    assert partners(2, pairing="released") == {3, 5}
    assert partners(7, pairing="released") == {0, 1, 4}


def test_an_image_without_a_partner_of_its_unseen_class_falls_back_to_a_seen_one():
    assert partners(5) == {2, 3}
    assert partners(6) == {6}  # nothing in common with any other
    assert partners(7) == {0, 1, 4}


def test_images_that_share_more_than_one_are_taken_only_when_there_are_no_others():
    frozen = [frozenset({0, 1}), frozenset({0, 1}), frozenset({2})]
    pairs = PairingTable(frozen, [frozenset()] * 3, 4)
    assert pairs.draw(0, np.random.default_rng(0)) == 1
    released = PairingTable(frozen, [frozenset()] * 3, 4, pairing="released")
    assert released.draw(0, np.random.default_rng(0)) == 0


def test_with_mixing_the_class_with_the_fewest_partners_is_taken():
    always = {table(mixing=1.0).draw(0, np.random.default_rng(seed)) for seed in range(100)}
    assert always == {4}  # class 1 has one partner, class 0 two


def test_classes_and_partners_are_drawn_evenly():
    pairs = table(mixing=0.0)
    rng = np.random.default_rng(0)
    drawn = np.bincount([pairs.draw(0, rng) for _ in range(4000)], minlength=8) / 4000
    np.testing.assert_allclose(drawn[[2, 3, 4]], [0.25, 0.25, 0.5], atol=0.03)


def test_random_pairs_are_any_two_images():
    assert partners(6, pairing="random") == {0, 1, 2, 3, 4, 5, 7}
