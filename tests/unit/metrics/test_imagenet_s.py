import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.core.row_rle import encode_runs
from lexiseg.metrics.image_counts import ImageCounts, count_runs
from lexiseg.metrics.imagenet_s import imagenet_s_scores


def counts_of(*pairs):
    maps = [[encode_runs(np.array([row], np.uint16)) for row in pair] for pair in pairs]
    return ImageCounts.join([count_runs(*pair) for pair in maps])


# Two images of ten pixels; class 1 in the first, class 2 in the second; class 3 never occurs.
FIRST = ([0, 0, 0, 0, 0, 0, 1, 1, 1, 65535], [0, 0, 0, 0, 0, 1, 1, 1, 0, 3])
SECOND = ([0, 0, 2, 2, 2, 2, 2, 2, 2, 2], [0, 0, 1, 1, 1, 1, 1, 0, 2, 65535])


def test_mean_goes_over_other_and_absent_classes_too():
    scores = imagenet_s_scores(counts_of(FIRST, SECOND), 4)
    other, one, two = 7 / 11, 2 / 9, 1 / 8  # other: 8 true, 10 predicted, 7 correct
    assert scores.mean_iou == pytest.approx((other + one + two + 0) / 4)


def test_an_image_is_right_when_its_largest_foreground_class_is_in_the_truth():
    assert imagenet_s_scores(counts_of(FIRST), 4).image_accuracy == 1
    assert imagenet_s_scores(counts_of(SECOND), 4).image_accuracy == 0
    assert imagenet_s_scores(counts_of(FIRST, SECOND), 4).image_accuracy == 0.5
    nothing = ([0, 1], [0, 0])
    assert imagenet_s_scores(counts_of(nothing), 4).image_accuracy == 0


def test_f_measure_is_of_foreground_and_averaged_over_images():
    precision, recall = 2 / 3, 2 / 3
    first = 1.3 * precision * recall / (0.3 * precision + recall)
    precision, recall = 1, 6 / 8
    second = 1.3 * precision * recall / (0.3 * precision + recall)
    scores = imagenet_s_scores(counts_of(FIRST, SECOND), 4)
    assert scores.f_measure == pytest.approx((first + second) / 2)


def test_size_bins_skip_absent_classes_and_are_undefined_when_empty():
    by_size = imagenet_s_scores(counts_of(FIRST, SECOND), 4).mean_iou_by_size  # 34 % and 80 %
    assert np.isnan(by_size[:2]).all()
    assert by_size[2] == pytest.approx((5 / 7 + 2 / 4) / 2)
    assert by_size[3] == pytest.approx((2 / 4 + 0 + 1 / 8) / 3)


def test_no_image_is_refused():
    with pytest.raises(InputError, match="found no image"):
        imagenet_s_scores(ImageCounts.join([]), 4)
