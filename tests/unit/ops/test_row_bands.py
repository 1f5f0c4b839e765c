import threading

import pytest
import torch

from lexiseg.ops.row_bands import for_bands


@pytest.mark.parametrize(("num_rows", "num_threads"), [(10, 3), (1, 4), (0, 2), (7, 1), (8, 8)])
def test_bands_cover_every_row_once_in_order(num_rows, num_threads):
    bands: list[tuple[int, int]] = []
    lock = threading.Lock()

    def note(start: int, stop: int) -> None:
        with lock:
            bands.append((start, stop))

    for_bands(note, num_rows, num_threads=num_threads)
    assert [row for start, stop in sorted(bands) for row in range(start, stop)] == list(range(num_rows))
    assert len(bands) == min(num_threads, num_rows)


def test_few_rows_make_few_bands_and_torch_sets_the_number_of_threads():
    bands: list[tuple[int, int]] = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for_bands(lambda start, stop: bands.append((start, stop)), 40, min_rows=16)
    finally:
        torch.set_num_threads(before)
    assert sorted(bands) == [(0, 20), (20, 40)]


@pytest.mark.parametrize("failing_start", [0, 2])
def test_an_error_in_any_band_is_raised(failing_start):
    def fail(start: int, stop: int) -> None:
        if start == failing_start:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_bands(fail, 4, num_threads=2)
