import numpy as np

from lexiseg.data.scenes.random_numbers import Draws, by_weight, direction, scene_key, start_stream, unit


def test_words_and_kernels_draw_the_same_numbers():
    state = np.empty(1, np.uint64)
    for seed, index, purpose in ((0, 0, 1), (7, 123_456, 6), (1 << 40, 3, 5)):
        start_stream(state, seed, index, purpose)
        draws = Draws(scene_key(seed, index), purpose)
        assert [unit(state) for _ in range(5)] == [draws.unit() for _ in range(5)]


def test_numbers_are_even_and_unrelated_between_neighbours():
    firsts = np.array([Draws(scene_key(seed, index), 1).unit() for seed in range(20) for index in range(200)])
    assert abs(firsts.mean() - 0.5) < 4 * (1 / 12 / 4000) ** 0.5
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 4 / 4000**0.5
    assert np.bincount((firsts * 10).astype(int), minlength=10).min() > 330


def test_weights_are_chances_and_zero_is_never_drawn():
    state = np.zeros(1, np.uint64)
    weights = np.array([1.0, 0.0, 3.0, 0.0])
    drawn = np.bincount([by_weight(state, weights) for _ in range(4000)], minlength=4)
    assert drawn[1] == drawn[3] == 0
    assert abs(drawn[2] / 4000 - 0.75) < 4 * (0.1875 / 4000) ** 0.5
    assert by_weight(state, np.zeros(3)) == -1


def test_directions_have_length_one_and_point_anywhere():
    state = np.zeros(1, np.uint64)
    drawn = np.array([direction(state) for _ in range(2000)])
    np.testing.assert_allclose((drawn**2).sum(1), 1, atol=1e-12)
    assert np.abs(drawn.mean(0)).max() < 4 * (0.5 / 2000) ** 0.5
