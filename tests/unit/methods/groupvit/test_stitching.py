import numpy as np
import pytest
import torch
from einops import rearrange
from torch.nn.functional import interpolate, one_hot

from lexiseg.core.features import PatchFeatures, Segments
from lexiseg.methods.groupvit.stitching import (
    NamedSegments,
    best_columns,
    grid_columns,
    segment_map,
    stitch,
)
from lexiseg.ops.sliding_window import Window, windows

SEEN = (40, 56)


def named(num_columns: int = 4) -> list[NamedSegments]:
    rng = np.random.default_rng(0)
    found = []
    for window in windows(SEEN, 32, 16):
        coarse = rng.integers(0, 3, (window.height // 8, window.width // 8))
        place = np.kron(coarse, np.ones((8, 8))).astype(np.uint16)
        scores = torch.from_numpy(rng.random((3, num_columns), np.float32))
        found.append(NamedSegments(window=window, segment_of=place, scores=scores))
    return found


def whole(segments: list[NamedSegments]) -> torch.Tensor:
    """All at once: every window's scores at every pixel, summed and divided by their number."""
    total, count = torch.zeros(segments[0].scores.shape[1], *SEEN), torch.zeros(SEEN)
    for each in segments:
        w = each.window
        area = (slice(w.top, w.top + w.height), slice(w.left, w.left + w.width))
        picked = one_hot(torch.from_numpy(each.segment_of.astype(np.int64)), 3).float() @ each.scores
        total[:, area[0], area[1]] += rearrange(picked, "y x c -> c y x")
        count[area] += 1
    return total / count


@pytest.mark.parametrize("rows", [(0, 40), (0, 1), (13, 29), (39, 40)])
def test_overlapping_windows_are_averaged(rows):
    torch.testing.assert_close(stitch(named(), SEEN, rows), whole(named())[:, slice(*rows)])


@pytest.mark.parametrize("size", [(40, 56), (80, 112), (61, 33), (1, 1)])
@pytest.mark.parametrize("memory_mb", [1, 64])
def test_the_best_column_is_chosen_after_one_resize(size, memory_mb):
    best = best_columns(named(200), SEEN, size, memory_mb)
    resized = interpolate(whole(named(200))[None], size, mode="bilinear")[0]
    np.testing.assert_allclose(best.best, resized.amax(0), atol=1e-5)
    assert (best.labels == resized.argmax(0).numpy()).mean() > 0.999


def test_scores_of_patches_are_means_of_their_pixels():
    torch.testing.assert_close(
        grid_columns(named(), SEEN, 8), torch.nn.functional.avg_pool2d(whole(named()), 8)
    )


def test_one_window_keeps_its_scores_exactly():
    only = named()[:1]
    found = stitch(only, (32, 32), (0, 32))
    assert torch.equal(found[:, 5, 9], only[0].scores[int(only[0].segment_of[5, 9])])


def test_a_pixel_takes_the_segment_whose_resized_share_is_largest():
    shares = torch.rand(1, 20, 3, generator=torch.Generator().manual_seed(0)).softmax(2)
    features = PatchFeatures(
        tokens=torch.zeros(1, 20, 2),
        grid=(4, 5),
        stride=8,
        segments=Segments(shares=shares, embeddings=torch.zeros(1, 3, 2)),
    )
    found = segment_map(features, Window(top=0, left=0, height=32, width=40))
    resized = interpolate(rearrange(shares, "b (h w) g -> b g h w", h=4), (32, 40), mode="bilinear")
    assert (found == resized[0].argmax(0).numpy()).mean() > 0.999
