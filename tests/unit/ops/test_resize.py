import numpy as np
import pytest
import torch

from lexiseg.ops import resize
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_rows, resize_scores, scores_at, source_rows

SIZES = [
    ((4, 5), (32, 40)),  # whole factor
    ((4, 5), (37, 23)),  # odd factors
    ((7, 9), (7, 9)),  # the same size
    ((16, 12), (5, 7)),  # smaller
    ((1, 1), (6, 4)),  # one cell
    ((1, 6), (3, 50)),
    ((3, 2), (200, 150)),  # cells larger than a tile
    ((9, 9), (1, 1)),
]


def random_scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same_best(found: RunningBest, scores: torch.Tensor, size: tuple[int, int]) -> None:
    """The label's score is the highest score, which is the reference's, up to rounding."""
    full = resize_scores(scores[None], size)[0]
    np.testing.assert_allclose(found.best, full.max(dim=0).values, atol=1e-5)
    of_label = full.gather(0, torch.from_numpy(found.labels.astype(np.int64))[None])[0]
    np.testing.assert_allclose(of_label, full.max(dim=0).values, atol=1e-5)


def test_m2_scores_are_resized_before_the_best_class_is_taken():
    scores = torch.tensor([[[5.0, 0.0]], [[1.0, 1.0]]])
    assert resize_scores(scores[None], (1, 4))[0, 0].tolist() == [[5, 3.75, 1.25, 0]]
    assert resize_argmax(scores, (1, 4)).labels.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize(("grid", "size"), SIZES)
@pytest.mark.parametrize("num_classes", [1, 2, 37])
def test_fused_argmax_equals_interpolate_then_argmax(grid, size, num_classes):
    scores = random_scores(num_classes, *grid)
    found = resize_argmax(scores, size)
    assert_same_best(found, scores, size)
    np.testing.assert_array_equal(found.labels, resize_scores(scores[None], size)[0].argmax(dim=0))


def test_smooth_scores_where_most_classes_are_pruned_give_the_same_labels():
    scores = resize_scores(random_scores(1, 150, 6, 6), (64, 64))[0] + 0.02 * random_scores(
        150, 64, 64, seed=1
    )
    found = resize_argmax(scores, (333, 512))
    assert_same_best(found, scores, (333, 512))
    assert np.mean(found.labels == resize_scores(scores[None], (333, 512))[0].argmax(dim=0).numpy()) > 0.9999


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_streaming_chunks_of_classes_changes_nothing(chunk):
    scores = random_scores(64, 9, 11)
    whole = resize_argmax(scores, (70, 81))
    parts = RunningBest.empty((70, 81))
    for first in range(0, 64, chunk):
        returned = resize_argmax(scores[first : first + chunk], (70, 81), class_offset=first, into=parts)
        assert returned is parts
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_array_equal(parts.best, whole.best)


def test_of_equal_scores_the_lower_label_wins_within_and_across_chunks():
    scores = random_scores(1, 5, 5).expand(6, 5, 5).contiguous()
    assert resize_argmax(scores, (31, 40)).labels.max() == 0
    earlier = resize_argmax(scores[:1], (31, 40), class_offset=3)
    later = resize_argmax(scores, (31, 40), class_offset=4, into=earlier)
    assert set(np.unique(later.labels)) == {3}


def test_labels_above_255_fit():
    scores = torch.zeros(3, 2, 2)
    scores[2] = 1
    assert set(np.unique(resize_argmax(scores, (4, 4), class_offset=65_000).labels)) == {65_002}


def test_all_negative_and_constant_scores_are_kept_exactly():
    scores = torch.full((4, 3, 3), -0.1)
    scores[2] += 0.05
    found = resize_argmax(scores, (17, 19))
    assert set(np.unique(found.labels)) == {2}
    assert set(np.unique(found.best)) == {scores[2, 0, 0].item()}


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_bands_of_rows_are_the_rows_of_the_whole(grid, size):
    scores = random_scores(12, *grid)
    whole = resize_argmax(scores, size)
    full = resize_scores(scores[None], size)[0]
    for start in range(0, size[0], 5):
        rows = (start, min(start + 5, size[0]))
        torch.testing.assert_close(resize_rows(scores, size, rows), full[:, slice(*rows)], atol=1e-5, rtol=0)
        first, stop = source_rows(grid[0], size[0], rows)
        band = resize_argmax(scores[:, first:stop], size, rows=rows, source=(first, grid[0]))
        np.testing.assert_array_equal(band.labels, whole.labels[slice(*rows)])
        np.testing.assert_allclose(band.best, whole.best[slice(*rows)], atol=1e-6)


def test_a_band_without_the_grid_rows_it_needs_is_refused():
    with pytest.raises(AssertionError, match="rows of the grid are missing"):
        resize_argmax(random_scores(2, 3, 8), (64, 64), rows=(32, 64), source=(0, 8))


def test_half_precision_scores_are_compared_in_single_precision():
    scores = random_scores(9, 6, 6).to(torch.bfloat16)
    assert_same_best(resize_argmax(scores, (40, 40)), scores.float(), (40, 40))


def test_number_of_threads_changes_nothing():
    scores, before = random_scores(20, 13, 17), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = resize_argmax(scores, (150, 160))
        torch.set_num_threads(3)
        three = resize_argmax(scores, (150, 160))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(one.labels, three.labels)
    np.testing.assert_allclose(one.best, three.best, atol=1e-6)


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_path_for_other_devices_equals_the_fused_one(grid, size):
    scores = random_scores(11, *grid)
    fused = resize_argmax(scores, size, class_offset=5)
    plain = RunningBest.empty(size)
    resize._argmax_chunked(scores, size, 5, plain, (0, size[0]), chunk_numel=3 * size[0] * size[1])
    np.testing.assert_array_equal(plain.labels, fused.labels)
    np.testing.assert_allclose(plain.best, fused.best, atol=1e-5)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the same code runs above on the CPU"
)
def test_scores_on_a_gpu_give_the_same_labels():
    scores = random_scores(50, 32, 32)
    on_gpu, on_cpu = resize_argmax(scores.cuda(), (300, 400)), resize_argmax(scores, (300, 400))
    assert np.mean(on_gpu.labels == on_cpu.labels) > 0.9999
    np.testing.assert_allclose(on_gpu.best, on_cpu.best, atol=1e-5)


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_scores_at_gives_the_resized_score_of_each_label(grid, size):
    scores = random_scores(6, *grid)
    labels = np.random.default_rng(0).integers(0, 6, size).astype(np.uint16)
    full = resize_scores(scores[None], size)[0]
    expected = full.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    np.testing.assert_allclose(scores_at(scores, labels), expected, atol=1e-5)
