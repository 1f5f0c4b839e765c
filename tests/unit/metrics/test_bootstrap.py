import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.metrics.bootstrap import intervals, paired_intervals
from lexiseg.metrics.image_counts import ImageMargins


def margins_of(correct, total=100):
    num = len(correct)
    amounts = np.stack([np.full(num, total), np.full(num, total), correct], axis=1).astype(np.int64)
    return ImageMargins(image=np.arange(num), label=np.zeros(num, np.int64), amounts=amounts, num_images=num)


def accuracy(pixels):
    return pixels[2] / np.maximum(pixels[0], 1)


def test_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    correct = np.random.default_rng(0).integers(0, 101, 400)
    spread = intervals(margins_of(correct), 1, accuracy, resamples=2000)
    error = correct.std() / 100 / np.sqrt(400)
    mean = correct.mean() / 100
    assert spread.low[0] == pytest.approx(mean - 1.96 * error, abs=0.2 * error)
    assert spread.high[0] == pytest.approx(mean + 1.96 * error, abs=0.2 * error)


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    margins = margins_of(np.random.default_rng(1).integers(0, 101, 30))
    first, again, other = (intervals(margins, 1, accuracy, resamples=200, seed=s) for s in (3, 3, 4))
    assert first.low[0] == again.low[0]
    assert first.low[0] != other.low[0]


def test_images_that_are_all_alike_leave_no_doubt():
    spread = intervals(margins_of(np.full(10, 40)), 1, accuracy, resamples=50)
    assert (spread.low[0], spread.high[0]) == (0.4, 0.4)


def test_paired_interval_of_a_small_steady_gain_excludes_zero_where_the_single_ones_overlap():
    correct = np.random.default_rng(2).integers(10, 90, 60)
    first, second = margins_of(correct), margins_of(correct + 2)
    alone = [intervals(run, 1, accuracy, resamples=500) for run in (first, second)]
    assert alone[0].high[0] > alone[1].low[0]
    gain = paired_intervals(first, second, 1, accuracy, resamples=500)
    assert gain.low[0] == pytest.approx(0.02)
    assert gain.high[0] == pytest.approx(0.02)


def test_runs_of_different_numbers_of_images_are_refused():
    with pytest.raises(InputError, match="found 3 and 4 images"):
        paired_intervals(margins_of(np.ones(3)), margins_of(np.ones(4)), 1, accuracy)


def test_draws_in_which_a_number_is_undefined_are_left_out():
    spread = intervals(
        margins_of(np.array([50, 50])),
        2,
        lambda p: np.where(p[0] > 0, p[2] / np.maximum(p[0], 1), np.nan),
        resamples=20,
    )
    assert spread.low[0] == 0.5
    assert np.isnan(spread.low[1])
