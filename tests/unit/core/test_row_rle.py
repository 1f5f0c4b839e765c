import numpy as np
import pytest

from lexiseg.core.errors import InputError
from lexiseg.core.row_rle import decode_runs, encode_runs


def test_runs_go_on_from_one_row_to_the_next():
    runs = encode_runs(np.array([[5, 5, 7], [7, 7, 65535]], np.uint16))
    assert runs.labels.tolist() == [5, 7, 65535]
    assert runs.lengths.tolist() == [2, 3, 1]


@pytest.mark.parametrize("size", [(1, 1), (3, 70_000), (2, 65_535), (257, 255)])
@pytest.mark.parametrize("num_labels", [1, 3, 60_000])
def test_any_label_map_comes_back_exactly(size, num_labels):
    label_map = np.random.default_rng(0).integers(0, num_labels, size).astype(np.uint16)
    assert np.array_equal(decode_runs(encode_runs(label_map), size), label_map)


def test_a_view_with_gaps_between_its_rows_comes_back_exactly():
    label_map = np.arange(600, dtype=np.uint16).reshape(20, 30)[::2, ::3]
    assert np.array_equal(decode_runs(encode_runs(label_map), label_map.shape), label_map)


def test_runs_of_another_size_are_refused():
    runs = encode_runs(np.zeros((2, 3), np.uint16))
    with pytest.raises(InputError, match="runs that add up to 6 pixels; expected 8 pixels"):
        decode_runs(runs, (2, 4))
