import numpy as np

from lexiseg.data.augmentation.labelled_crop import jitter_colours


def test_grey_stays_grey_and_the_image_given_is_not_changed() -> None:
    image = np.repeat(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    before = image.copy()
    for seed in range(40):
        changed = jitter_colours(image, np.random.default_rng(seed))
        assert np.array_equal(changed[..., 0], changed[..., 1])
        assert np.array_equal(changed[..., 0], changed[..., 2])
    assert np.array_equal(image, before)


def test_colours_stay_within_reach() -> None:
    image = np.full((4, 4, 3), [200, 100, 50], np.uint8)
    results = np.array([jitter_colours(image, np.random.default_rng(seed))[0, 0] for seed in range(400)])
    assert 60 < results[:, 0].min() < 120  # (200 − 32) × 0.5
    assert results[:, 0].max() == 255
    unchanged = (results == [200, 100, 50]).all(1).mean()
    assert 0.02 < unchanged < 0.13  # one in sixteen, as four coins fall
    assert (results.argmax(1) == 0).mean() > 0.9  # a tenth of the circle leaves red red


def test_the_number_of_draws_is_always_the_same() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    for seed in range(10):
        rng, plain = np.random.default_rng(seed), np.random.default_rng(seed)
        jitter_colours(image, rng)
        plain.random(5), plain.random(4)
        assert rng.random() == plain.random()
