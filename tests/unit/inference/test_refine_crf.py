import numpy as np
import pytest
import torch

import lexiseg
from lexiseg.inference.refine_crf import RefineCrfSettings, refine_labels_crf
from lexiseg.ops.resize import resize_argmax, resize_scores


def disc(height: int = 96, width: int = 128) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (y - 0.45 * height) ** 2 + (x - 0.55 * width) ** 2 < (0.3 * height) ** 2


def photograph(inside: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).integers(-8, 9, (*inside.shape, 3))
    return (np.where(inside[..., None], (200, 60, 40), (40, 90, 160)) + noise).astype(np.uint8)


def coarse_scores(inside: np.ndarray, patch: int = 16) -> torch.Tensor:
    """Return what an encoder would: the share of each patch that each of three classes covers."""
    share = torch.nn.functional.avg_pool2d(torch.from_numpy(inside).float()[None, None], patch)[0, 0]
    return torch.stack([1 - share, share, torch.full_like(share, -1)])


def error(labels: np.ndarray, inside: np.ndarray) -> float:
    return float(np.mean(labels.astype(np.int64) != inside))


@pytest.mark.parametrize(("size", "patch"), [((96, 128), 16), ((960, 1280), 160)])
def test_borders_move_to_the_edges_of_the_image(size, patch):
    inside = disc(*size)
    scores = coarse_scores(inside, patch)
    plain = resize_argmax(scores, inside.shape).labels
    refined = refine_labels_crf(scores, photograph(inside)).labels
    assert error(plain, inside) > 0.01
    assert error(refined, inside) < 0.25 * error(plain, inside)


@pytest.mark.parametrize(("factor", "offset"), [(0.02, 0.2), (1000.0, -5.0)])
def test_scale_and_offset_of_the_scores_do_not_matter(factor, offset):
    scores = torch.randn(6, 6, 8, generator=torch.Generator().manual_seed(0))
    plain = refine_labels_crf(scores, photograph(disc())).labels
    other = refine_labels_crf(scores * factor + offset, photograph(disc())).labels
    assert np.mean(plain != other) < 0.002


def test_a_image_without_contrast_gives_the_plain_resize():
    scores = torch.randn(5, 6, 8, generator=torch.Generator().manual_seed(0))
    refined = refine_labels_crf(scores, np.full((96, 128, 3), 130, np.uint8))
    plain = resize_argmax(scores, (96, 128))
    np.testing.assert_array_equal(refined.labels, plain.labels)
    np.testing.assert_array_equal(refined.best, plain.best)


def test_only_so_many_classes_that_win_on_the_grid_appear():
    scores = torch.randn(40, 6, 8, generator=torch.Generator().manual_seed(1))
    refined = refine_labels_crf(scores, photograph(disc()), RefineCrfSettings(max_classes=3))
    found = set(np.unique(refined.labels))
    assert 1 <= len(found) <= 3
    assert found <= set(scores.argmax(0).unique().tolist())


def test_best_is_the_resized_score_of_the_label():
    inside = disc()
    scores = coarse_scores(inside)
    refined = refine_labels_crf(scores, photograph(inside))
    full = resize_scores(scores[None], inside.shape)[0]
    of_label = full.gather(0, torch.from_numpy(refined.labels.astype(np.int64))[None])[0]
    np.testing.assert_allclose(refined.best, of_label, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (97, 31)])
@pytest.mark.parametrize("grid", [(1, 1), (5, 3)])
def test_tiny_and_odd_images_work(size, grid):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    scores = torch.randn(4, *grid, generator=torch.Generator().manual_seed(0))
    refined = refine_labels_crf(scores, image)
    assert refined.labels.shape == refined.best.shape == size
    assert np.isfinite(refined.best).all()


def test_scores_that_are_not_numbers_are_refused():
    scores = coarse_scores(disc())
    scores[0, 0, 0] = torch.nan
    with pytest.raises(lexiseg.InputError, match="finite numbers"):
        refine_labels_crf(scores, photograph(disc()))


@pytest.mark.exhaustive
def test_every_method_can_be_asked_for_it():
    pytest.importorskip("skimage")
    from skimage import data

    model = lexiseg.load("mini")
    encoded = model.encode(np.ascontiguousarray(data.coffee()[::2, ::2]))
    words = ["cup", "coffee", "spoon", "wood", "cat", "saucer"]
    found = {refine: model.segment(encoded, words, refine=refine) for refine in ("none", "guided", "crf")}
    assert found["crf"].settings["refine"] == "crf"
    for other in ("none", "guided"):
        assert 0 < np.mean(found["crf"].label_map != found[other].label_map) < 0.2
