import math

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from lexiseg.core.errors import InputError
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import Scores, compute_scores, harmonic_mean

TRUE = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 65535]
PREDICTED = [0, 0, 0, 3, 1, 1, 0, 2, 2, 2, 1]


def score(true, predicted, num_classes, seen=None, unseen=None) -> Scores:
    confusion = ConfusionMatrix(num_classes)
    confusion.update(np.array([true], np.uint16), np.array([predicted], np.uint16))
    return compute_scores(confusion, seen, unseen)


def test_images_are_added_up_before_anything_is_divided():
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([[0, 0, 1, 1]], np.uint16), np.array([[0, 1, 1, 1]], np.uint16))
    np.testing.assert_allclose(compute_scores(confusion).iou, [1 / 2, 2 / 3])
    assert compute_scores(confusion).mean_iou == pytest.approx(0.5833, abs=5e-5)
    confusion.update(np.array([[1, 65535]], np.uint16), np.array([[0, 0]], np.uint16))
    np.testing.assert_allclose(compute_scores(confusion).iou, [1 / 3, 2 / 4])
    assert compute_scores(confusion).mean_iou == pytest.approx(0.4167, abs=5e-5)


def test_m1_three_mean_ious_accuracies_and_frequency_weighted_iou():
    scores = score(TRUE, PREDICTED, 5)
    assert scores.true_pixels.tolist() == [4, 3, 3, 0, 0]
    assert scores.predicted_pixels.tolist() == [4, 2, 3, 1, 0]
    np.testing.assert_allclose(scores.iou, [3 / 5, 2 / 3, 1, 0, math.nan])
    np.testing.assert_allclose(scores.accuracy, [3 / 4, 2 / 3, 1, math.nan, math.nan])
    assert scores.mean_iou == pytest.approx(0.56667, abs=5e-6)
    assert scores.mean_iou_present == pytest.approx(0.75556, abs=5e-6)
    assert scores.mean_iou_all == pytest.approx(0.45333, abs=5e-6)
    assert scores.pixel_accuracy == pytest.approx(0.8)
    assert scores.mean_accuracy == pytest.approx(0.80556, abs=5e-6)
    assert scores.frequency_weighted_iou == pytest.approx(0.74)
    assert (scores.seen_mean_iou, scores.unseen_mean_iou, scores.harmonic_iou) == (None, None, None)


def test_m1_seen_and_unseen_means_and_their_harmonic_mean():
    scores = score(TRUE, PREDICTED, 5, frozenset({0, 1}), frozenset({2}))
    assert scores.seen_mean_iou == pytest.approx(0.63333, abs=5e-6)
    assert scores.unseen_mean_iou == 1
    assert scores.harmonic_iou == pytest.approx(0.77551, abs=5e-6)


def test_without_an_unseen_set_all_other_classes_are_unseen():
    scores = score(TRUE, PREDICTED, 5, frozenset({0, 1}))
    assert scores.unseen == {2, 3, 4}
    assert scores.unseen_mean_iou == 0.5  # class 3 is predicted once and never occurs; class 4 neither


def test_m1_an_ignored_pixel_wrongly_counted_would_lower_class_1_to_a_half():
    assert score([*TRUE[:-1], 4], PREDICTED, 5).iou[1] == pytest.approx(0.5)
    assert score(TRUE, PREDICTED, 5).iou[1] == pytest.approx(2 / 3)


def test_per_class_iou_equals_scikit_learn_jaccard():
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 9, (2, 5000))
    expected = jaccard_score(true, predicted, labels=np.arange(9), average=None)
    np.testing.assert_allclose(score(true, predicted, 9).iou, expected)


def test_a_predicted_void_lowers_iou_and_accuracy_of_its_true_class_only():
    scores = score([0, 0, 1, 1], [0, 65535, 1, 1], 2)
    assert scores.iou.tolist() == [0.5, 1]
    assert scores.pixel_accuracy == 0.75


@pytest.mark.parametrize("true", [[65535, 65535], []])
def test_no_scored_pixel_is_an_error_and_not_a_silent_nan(true):
    with pytest.raises(InputError, match="found no scored pixel") as caught:
        score(true, [0] * len(true), 3)
    assert "not all void" in caught.value.fix


def test_a_split_that_names_a_class_beyond_the_vocabulary_is_refused():
    with pytest.raises(InputError, match=r"found classes \[7\]; expected indices from 0 to 2"):
        score([0], [0], 3, frozenset({0, 7}))


def test_a_side_of_the_split_without_any_class_gives_nan_without_a_warning(recwarn):
    scores = score([0, 1], [0, 1], 3, frozenset({0, 1, 2}))
    assert scores.seen_mean_iou == 1
    assert math.isnan(scores.unseen_mean_iou)
    assert math.isnan(scores.harmonic_iou)
    assert not recwarn.list


def test_harmonic_mean_of_two_zeros_is_zero():
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.402, 0.411) == pytest.approx(0.4065, abs=1e-4)


def test_more_classes_than_a_matrix_holds_score_the_same():
    small, large = score(TRUE, PREDICTED, 5), score(TRUE, PREDICTED, 5000)
    assert (small.mean_iou, small.mean_iou_present) == (large.mean_iou, large.mean_iou_present)
    assert large.mean_iou_all == pytest.approx(small.mean_iou_all * 5 / 5000)
