import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.row_rle import encode_runs
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.image_counts import ImageCounts, count_runs
from lexiseg.metrics.iou import compute_scores


def random_pair(seed, num_classes, size=(40, 50)):
    generator = np.random.default_rng(seed)
    true = np.kron(generator.integers(0, num_classes, (size[0] // 5, size[1] // 5)), np.ones((5, 5))).astype(
        np.uint16
    )
    predicted = np.roll(true, (1, 2), (0, 1))
    true[generator.random(size) < 0.1] = IGNORE_INDEX
    predicted[generator.random(size) < 0.02] = IGNORE_INDEX
    return true, predicted


def joined(pairs):
    return ImageCounts.join(
        [count_runs(encode_runs(true), encode_runs(predicted)) for true, predicted in pairs]
    )


@pytest.mark.parametrize("num_classes", [2, 21, 400, 3000])
def test_counts_from_runs_are_those_of_the_confusion_matrix(num_classes):
    pairs = [random_pair(seed, num_classes) for seed in range(4)]
    direct = ConfusionMatrix(num_classes)
    for true, predicted in pairs:
        direct.update(true, predicted)
    counted = joined(pairs).confusion(num_classes)
    for name in ("true_pixels", "predicted_pixels", "correct_pixels"):
        assert np.array_equal(getattr(counted, name), getattr(direct, name)), name
    if direct.has_matrix:
        assert np.array_equal(counted.matrix, direct.matrix)


def test_counts_are_those_of_scikit_learn():
    true, predicted = random_pair(0, 12)
    both = (true != IGNORE_INDEX) & (predicted != IGNORE_INDEX)
    expected = confusion_matrix(true[both], predicted[both], labels=np.arange(12))
    assert np.array_equal(joined([(true, predicted)]).confusion(12).matrix[:, :-1], expected)


def test_noise_of_many_labels_is_counted_too():
    generator = np.random.default_rng(1)
    true, predicted = (generator.integers(0, 5000, (80, 80)).astype(np.uint16) for _ in range(2))
    pairs = count_runs(encode_runs(true), encode_runs(predicted))
    keys, expected = np.unique(true.ravel().astype(np.int64) << 16 | predicted.ravel(), return_counts=True)
    assert np.array_equal(pairs.true.astype(np.int64) << 16 | pairs.predicted, keys)
    assert np.array_equal(pairs.pixels, expected)


def test_margins_sum_to_what_the_matrix_says_image_by_image():
    pairs = [random_pair(seed, 9) for seed in range(3)]
    margins = joined(pairs).margins(9)
    assert margins.num_images == 3
    for index, pair in enumerate(pairs):
        confusion = joined([pair]).confusion(9)
        found = np.zeros((9, 3), np.int64)
        here = margins.image == index
        found[margins.label[here]] = margins.amounts[here]
        expected = [confusion.true_pixels, confusion.predicted_pixels, confusion.correct_pixels]
        assert np.array_equal(found.T, expected)


def test_hand_example_m1_in_all_three_conventions():
    true = np.array([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 65535]], np.uint16)
    predicted = np.array([[0, 0, 0, 3, 1, 1, 0, 2, 2, 2, 1]], np.uint16)
    scores = compute_scores(joined([(true, predicted)]).confusion(5))
    assert scores.mean_iou == pytest.approx(0.56667, abs=1e-5)
    assert scores.mean_iou_present == pytest.approx(0.75556, abs=1e-5)
    assert scores.mean_iou_all == pytest.approx(0.45333, abs=1e-5)


def test_a_label_beyond_the_classes_is_refused():
    counts = joined([(np.array([[7]], np.uint16), np.array([[0]], np.uint16))])
    with pytest.raises(InputError, match="1 pixels of the truth with label 7; expected 0 to 4"):
        counts.confusion(5)


def test_maps_of_different_numbers_of_pixels_are_refused():
    with pytest.raises(InputError, match="4 predicted and 6 true pixels"):
        count_runs(encode_runs(np.zeros((2, 3), np.uint16)), encode_runs(np.ones((2, 2), np.uint16)))


def test_no_image_at_all_is_an_empty_count():
    counts = ImageCounts.join([])
    assert counts.num_images == 0
    assert counts.confusion(3).true_pixels.tolist() == [0, 0, 0]
