import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiseg.ops.resize import RunningBest, resize_argmax, resize_scores
from lexiseg.ops.sliding_window import window_starts

side = st.integers(1, 12)
out_side = st.integers(1, 70)


def scores_of(num_classes: int, height: int, width: int, seed: int, levels: int) -> torch.Tensor:
    """Draw scores from few levels, so that ties and flat parts are common."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-levels, levels + 1, (num_classes, height, width), generator=generator).float()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9), side, side, out_side, out_side, st.integers(0, 10**6), st.sampled_from([1, 3, 1000])
)
def test_fused_argmax_takes_a_best_class_in_every_pixel(k, h, w, height, width, seed, levels):
    scores = scores_of(k, h, w, seed, levels)
    found = resize_argmax(scores, (height, width))
    full = resize_scores(scores[None], (height, width))[0]
    of_label = full.gather(0, torch.from_numpy(found.labels.astype(np.int64))[None])[0]
    tolerance = 1e-5 * levels
    np.testing.assert_allclose(found.best, full.max(dim=0).values, atol=tolerance)
    np.testing.assert_allclose(of_label, full.max(dim=0).values, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), side, side, out_side, out_side, st.integers(0, 10**6), st.integers(1, 8))
def test_any_cut_into_two_chunks_gives_the_same_result(k, h, w, height, width, seed, cut):
    scores = scores_of(k, h, w, seed, levels=2)
    cut = min(cut, k - 1)
    chunked = resize_argmax(scores[:cut], (height, width))
    chunked = resize_argmax(scores[cut:], (height, width), class_offset=cut, into=chunked)
    whole = resize_argmax(scores, (height, width))
    np.testing.assert_array_equal(chunked.labels, whole.labels)
    np.testing.assert_array_equal(chunked.best, whole.best)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), side, side, out_side, out_side, st.integers(0, 10**6))
def test_permuting_the_classes_permutes_the_labels_where_no_two_tie(k, h, w, height, width, seed):
    scores = torch.randn(k, h, w, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed + 1))
    found, permuted = resize_argmax(scores, (height, width)), resize_argmax(scores[order], (height, width))
    np.testing.assert_array_equal(order.numpy()[permuted.labels], found.labels)


@given(out_side, out_side)
def test_an_empty_result_has_seen_no_class(height, width):
    empty = RunningBest.empty((height, width))
    assert empty.labels.shape == empty.best.shape == (height, width)
    assert np.isneginf(empty.best).all()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 100), st.integers(1, 100))
def test_windows_cover_the_axis_and_stay_inside(size, window, stride):
    stride = min(stride, window)
    starts = window_starts(size, window, stride)
    covered = {pixel for start in starts for pixel in range(start, min(start + window, size))}
    assert covered == set(range(size))
    assert starts == tuple(sorted(set(starts)))
    assert starts[-1] + min(window, size) == size
