import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores

NUM_CLASSES = 5
FORMS = ("mean_iou", "mean_iou_present", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
ALL_FORMS = (*FORMS, "mean_iou_all")

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
labels = st.sampled_from([*range(NUM_CLASSES), 65535])


@st.composite
def pairs(draw):
    """Draw a truth with at least one scored pixel and a prediction of the same size."""
    shape = draw(shapes)
    true = draw(arrays.arrays(np.uint16, shape, elements=labels))
    assume((true != 65535).any())
    return true, draw(arrays.arrays(np.uint16, shape, elements=labels))


def score(true, predicted):
    confusion = ConfusionMatrix(NUM_CLASSES)
    confusion.update(true, predicted)
    return compute_scores(confusion)


def values(scores):
    return [getattr(scores, form) for form in ALL_FORMS]


@settings(deadline=None)
@given(pairs())
def test_a_perfect_prediction_scores_one_in_every_form_but_all(pair):
    true, _ = pair
    scores = score(true, true)
    assert [getattr(scores, form) for form in FORMS] == pytest.approx([1] * len(FORMS))
    num_present = np.unique(true[true != 65535]).size
    assert scores.mean_iou_all == pytest.approx(num_present / NUM_CLASSES)


@settings(deadline=None)
@given(pairs(), st.integers(0, NUM_CLASSES - 1))
def test_a_constant_prediction_scores_its_share_over_the_classes_averaged(pair, constant):
    true, _ = pair
    scored = true[true != 65535]
    scores = score(true, np.full_like(true, constant))
    share = np.mean(scored == constant)
    assert scores.mean_iou == pytest.approx(share / np.unique([*scored, constant]).size)
    assert scores.mean_iou_present == pytest.approx(share / np.unique(scored).size)
    assert scores.mean_iou_all == pytest.approx(share / NUM_CLASSES)
    assert scores.pixel_accuracy == pytest.approx(share)


@settings(deadline=None)
@given(pairs(), st.permutations(range(NUM_CLASSES)))
def test_renaming_classes_in_both_maps_changes_nothing_but_their_order(pair, order):
    renamed = np.arange(65536, dtype=np.uint16)
    renamed[:NUM_CLASSES] = order
    scores, other = score(*pair), score(*(renamed[label_map] for label_map in pair))
    assert values(scores) == pytest.approx(values(other))
    np.testing.assert_allclose(scores.iou, other.iou[order])


@settings(deadline=None)
@given(pairs(), st.integers(1, 50), labels)
def test_adding_ignored_pixels_changes_nothing(pair, count, predicted_there):
    true, predicted = pair
    longer = np.concatenate([true.ravel(), np.full(count, 65535, np.uint16)])[None]
    other = np.concatenate([predicted.ravel(), np.full(count, predicted_there, np.uint16)])[None]
    assert values(score(longer, other)) == values(score(true, predicted))


@settings(deadline=None)
@given(pairs(), st.integers(0, 12))
def test_a_map_cut_into_two_and_merged_counts_the_same(pair, cut):
    true, predicted = pair
    parts = [ConfusionMatrix(NUM_CLASSES) for _ in range(2)]
    parts[0].update(true[:cut], predicted[:cut])
    parts[1].update(true[cut:], predicted[cut:])
    whole = ConfusionMatrix(NUM_CLASSES)
    whole.update(true, predicted)
    np.testing.assert_array_equal((parts[0] + parts[1]).matrix, whole.matrix)


@settings(deadline=None)
@given(pairs())
def test_every_score_is_a_fraction_and_the_means_are_ordered(pair):
    scores = score(*pair)
    assert all(0 <= value <= 1 for value in values(scores))
    assert scores.mean_iou_present >= scores.mean_iou - 1e-12
    assert scores.mean_iou >= scores.mean_iou_all - 1e-12
    defined = ~np.isnan(scores.accuracy)
    assert (scores.iou[defined] <= scores.accuracy[defined] + 1e-12).all()
