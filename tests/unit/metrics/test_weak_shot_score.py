import numpy as np
import pytest

from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores

VOID = 65535


@pytest.mark.parametrize("under_void", [(2, 1), (0, 0), (2, 2)])
def test_t12_the_worked_example_of_weak_shot_segmentation(under_void):
    true = np.array([[0, 0, 0, 0, 1, 1, 2, 2, VOID, VOID]], np.uint16)
    predicted = np.array([[0, 0, 0, 1, 1, 1, 2, 0, *under_void]], np.uint16)
    confusion = ConfusionMatrix(3)
    confusion.update(true, predicted)
    scores = compute_scores(confusion, seen=frozenset({0, 1}), unseen=frozenset({2}))
    np.testing.assert_allclose(scores.iou, [0.6, 2 / 3, 0.5])
    assert scores.unseen_mean_iou == 0.5
    assert scores.seen_mean_iou == pytest.approx((0.6 + 2 / 3) / 2)
