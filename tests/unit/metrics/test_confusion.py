import inspect
import pickle

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from lexiseg.core.errors import InputError
from lexiseg.metrics.confusion import MAX_MATRIX_CLASSES, ConfusionMatrix


def row(*labels):
    return np.array([labels], np.uint16)


def blocky(shape, num_classes, block, seed):
    blocks = np.random.default_rng(seed).integers(
        0, num_classes, (-(-shape[0] // block), -(-shape[1] // block))
    )
    return np.kron(blocks, np.ones((block, block), int))[: shape[0], : shape[1]].astype(np.uint16)


def count(num_classes, true, predicted):
    confusion = ConfusionMatrix(num_classes)
    confusion.update(true, predicted)
    return confusion


@pytest.mark.parametrize("block", [1, 2, 5, 17, 100])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 64), (129, 333)])
def test_counts_equal_scikit_learn_on_regions_of_any_size(shape, block):
    true, predicted = blocky(shape, 30, block, 1), blocky(shape, 30, block + 1, 2)
    true[np.random.default_rng(3).random(shape) < 0.02] = 65535
    scored = true != 65535
    found = count(30, true, predicted)
    if scored.any():
        expected = confusion_matrix(true[scored], predicted[scored], labels=np.arange(30))
        np.testing.assert_array_equal(found.matrix[:, :-1], expected)
    assert found.matrix[:, -1].sum() == 0
    assert found.matrix.dtype == np.int64


def test_a_prediction_on_void_enlarges_no_class():
    confusion = count(2, row(0, 65535), row(0, 1))
    assert confusion.predicted_pixels.tolist() == [1, 0]
    assert confusion.true_pixels.tolist() == [1, 0]


def test_a_predicted_void_on_a_scored_pixel_is_a_miss_of_no_class():
    confusion = count(2, row(0, 0, 1, 65535), row(0, 65535, 1, 65535))
    assert confusion.matrix.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert confusion.true_pixels.tolist() == [2, 1]
    assert confusion.predicted_pixels.tolist() == [1, 1]
    assert confusion.correct_pixels.tolist() == [1, 1]


@pytest.mark.parametrize("num_classes", [4, MAX_MATRIX_CLASSES + 1])
@pytest.mark.parametrize(("side", "name"), [(0, "truth"), (1, "prediction")])
@pytest.mark.parametrize("place", [0, 40, 5000, 9999])
def test_a_label_out_of_range_is_refused_and_nothing_of_that_image_is_counted(num_classes, side, name, place):
    maps = [np.repeat(row(0, 1, 2, 3, 65535), 2000, axis=1) for _ in range(2)]
    confusion = count(num_classes, *maps)
    before = confusion.true_pixels.tolist(), confusion.predicted_pixels.tolist()
    wrong = [label_map.copy() for label_map in maps]
    wrong[side][0, place] = num_classes
    with pytest.raises(
        InputError, match=f"found 1 pixels of the {name} with label {num_classes}; "
    ) as caught:
        confusion.update(*wrong)
    assert f"expected 0 to {num_classes - 1} for {num_classes} classes, or 65535 for void" in str(
        caught.value
    )
    assert "reduce_zero" in caught.value.fix
    assert before == (confusion.true_pixels.tolist(), confusion.predicted_pixels.tolist())


def test_an_8_bit_void_left_in_a_map_is_recognised():
    with pytest.raises(InputError, match=r"2 pixels of the truth with label 255") as caught:
        count(21, row(0, 255, 255), row(0, 1, 2))
    assert "255 is void in 8-bit label files" in caught.value.fix


def test_maps_of_different_size_are_refused_with_both_sizes():
    with pytest.raises(InputError, match=r"a prediction of 3×2 and a truth of 2×3 \(height × width\)"):
        count(2, np.zeros((2, 3), np.uint16), np.zeros((3, 2), np.uint16))


def test_other_integer_types_are_refused_where_shapes_are_not_checked_at_run_time():
    update = inspect.unwrap(ConfusionMatrix.update)
    with pytest.raises(InputError, match=r"a prediction of type int64; expected a label map of type uint16"):
        update(ConfusionMatrix(2), row(0), row(0).astype(np.int64))


@pytest.mark.parametrize("num_classes", [0, -1, 65536])
def test_an_impossible_number_of_classes_is_refused(num_classes):
    with pytest.raises(InputError, match=f"found {num_classes} classes; expected 1 to 65535"):
        ConfusionMatrix(num_classes)


def test_ten_thousand_classes_take_little_memory_and_give_the_same_sums():
    true, predicted = blocky((200, 300), 10_000, 3, 1), blocky((200, 300), 10_000, 4, 2)
    predicted[:50] = true[:50]
    predicted[60] = true[70] = 65535
    confusion = count(10_000, true, predicted)
    scored = true != 65535
    expected = [
        np.bincount(true[scored], minlength=10_000),
        np.bincount(predicted[scored & (predicted != 65535)], minlength=10_000),
        np.bincount(true[scored & (true == predicted)], minlength=10_000),
    ]
    found = [confusion.true_pixels, confusion.predicted_pixels, confusion.correct_pixels]
    np.testing.assert_array_equal(found, expected)
    assert len(pickle.dumps(confusion)) < 1_000_000
    with pytest.raises(InputError, match=r"10000 classes, of which only sums were counted") as caught:
        _ = confusion.matrix
    assert "true_pixels" in caught.value.fix


@pytest.mark.parametrize("num_classes", [5, MAX_MATRIX_CLASSES + 5])
def test_merged_parts_equal_the_whole_and_leave_the_parts_alone(num_classes):
    pairs = [(blocky((40, 50), 5, 4, seed), blocky((40, 50), 5, 3, seed + 9)) for seed in range(4)]
    whole, left, right = (ConfusionMatrix(num_classes) for _ in range(3))
    for index, pair in enumerate(pairs):
        whole.update(*pair)
        (left, right)[index % 2].update(*pair)
    total = left + pickle.loads(pickle.dumps(right))
    np.testing.assert_array_equal(total.correct_pixels, whole.correct_pixels)
    np.testing.assert_array_equal(total.predicted_pixels, whole.predicted_pixels)
    assert left.true_pixels.sum() == 2 * 2000
    assert left.merge(right) is left
    np.testing.assert_array_equal(left.true_pixels, whole.true_pixels)


def test_matrices_of_different_vocabularies_are_not_merged():
    with pytest.raises(InputError, match=r"found 2 and 3 classes"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))


def test_counts_go_on_beyond_what_32_bits_hold(monkeypatch):
    monkeypatch.setattr("lexiseg.metrics.confusion._MAX_RECENT", 1000)
    confusion = ConfusionMatrix(2)
    confusion._counts[:] = 2**40
    for _ in range(10):
        confusion.update(np.zeros((10, 70), np.uint16), np.ones((10, 70), np.uint16))
        assert confusion._num_recent <= 1000
    assert confusion.matrix[0, 1] == 2**40 + 7000


def test_maps_in_any_memory_order_are_counted_pixel_by_pixel():
    true, predicted = blocky((30, 40), 4, 3, 1), blocky((30, 40), 4, 3, 2)
    expected = count(4, true, predicted).matrix
    np.testing.assert_array_equal(count(4, np.asfortranarray(true), predicted).matrix, expected)
    np.testing.assert_array_equal(count(4, true[::-1], predicted[::-1]).matrix, expected)
