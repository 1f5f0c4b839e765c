import pytest
import torch

from lexiseg.ops.resize import resize_scores
from lexiseg.ops.sliding_window import Window, stitch_band, window_starts, windows


def random_scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_voc_photo_at_short_side_448_takes_two_windows_the_second_at_149():
    placed = windows((448, 597), 448, 224)
    assert [(w.top, w.left, w.height, w.width) for w in placed] == [(0, 0, 448, 448), (0, 149, 448, 448)]


def test_448_by_336_with_crop_224_and_stride_112_takes_three_by_two_windows():
    assert window_starts(448, 224, 112) == (0, 112, 224)
    assert window_starts(336, 224, 112) == (0, 112)
    assert len(windows((336, 448), 224, 112)) == 6


def test_image_smaller_than_the_window_takes_one_smaller_window():
    assert windows((100, 300), 448, 224) == (Window(top=0, left=0, height=100, width=300),)


def test_stride_larger_than_the_window_is_refused():
    with pytest.raises(AssertionError, match="leaves gaps"):
        windows((100, 100), 32, 33)


@pytest.mark.parametrize("blend", ["mean", "tent"])
@pytest.mark.parametrize("size", [(96, 130), (70, 64), (50, 40)])
def test_constant_scores_stay_exactly_constant(blend, size):
    placed = windows(size, 64, 24)
    constant = torch.tensor([0.1, -3.3, 1e3])[:, None, None].expand(3, 4, 4)
    blended = stitch_band([constant] * len(placed), placed, size, (0, size[0]), blend=blend)
    assert torch.equal(blended, constant[:, :1, :1].expand_as(blended))


@pytest.mark.parametrize("blend", ["mean", "tent"])
def test_one_window_is_a_plain_resize(blend):
    scores = random_scores(5, 6, 7)
    blended = stitch_band([scores], windows((48, 56), 64, 32), (48, 56), (0, 48), blend=blend)
    torch.testing.assert_close(blended, resize_scores(scores[None], (48, 56))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("blend", ["mean", "tent"])
def test_bands_are_the_rows_of_the_whole(blend):
    size = (90, 77)
    placed = windows(size, 40, 20)
    scores = [random_scores(3, 5, 5, seed=seed) for seed in range(len(placed))]
    whole = stitch_band(scores, placed, size, (0, 90), blend=blend)
    bands = [stitch_band(scores, placed, size, (r, min(r + 7, 90)), blend=blend) for r in range(0, 90, 7)]
    torch.testing.assert_close(torch.cat(bands, dim=1), whole, atol=1e-6, rtol=0)


def test_mean_equals_the_sum_of_the_windows_over_their_count():
    size, placed = (30, 50), windows((30, 50), 20, 10)
    scores = [random_scores(2, 4, 4, seed=seed) for seed in range(len(placed))]
    total, count = torch.zeros(2, *size), torch.zeros(size)
    for window_scores, w in zip(scores, placed, strict=True):
        total[:, w.top : w.top + 20, w.left : w.left + 20] += resize_scores(window_scores[None], (20, 20))[0]
        count[w.top : w.top + 20, w.left : w.left + 20] += 1
    blended = stitch_band(scores, placed, size, (0, 30))
    torch.testing.assert_close(blended, total / count, atol=1e-5, rtol=0)


def test_tent_weighs_the_window_whose_middle_is_nearer_more():
    placed = (Window(top=0, left=0, height=4, width=8), Window(top=0, left=4, height=4, width=8))
    scores = [torch.zeros(1, 2, 2), torch.ones(1, 2, 2)]
    row = stitch_band(scores, placed, (4, 12), (0, 4), blend="tent")[0, 0]
    torch.testing.assert_close(row, torch.tensor([0, 0, 0, 0, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 1, 1, 1]))


def test_rows_no_window_covers_are_refused():
    with pytest.raises(AssertionError, match="do not cover"):
        stitch_band([torch.zeros(1, 2, 2)], [Window(top=0, left=0, height=4, width=8)], (8, 8), (0, 8))
