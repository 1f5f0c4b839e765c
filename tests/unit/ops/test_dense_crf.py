from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lexiseg.core.errors import InputError
from lexiseg.ops.dense_crf import CrfSettings, DenseCrf

PHOTOGRAPHS = Path(__file__).parents[3].parent / "shared" / "data"
NO_PAIRS = CrfSettings(gaussian_weight=0.0, bilateral_weight=0.0)


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def halves(height: int = 40, width: int = 60) -> np.ndarray:
    image = np.full((height, width, 3), (200, 60, 40), np.uint8)
    image[:, width // 2 :] = (40, 90, 160)
    return image


def coarse_maps(number: int, height: int, width: int, patch: int = 16, seed: int = 0) -> np.ndarray:
    """Return maps in 0..1, constant on patches, as an encoder's grid gives them."""
    grid = torch.rand(
        1, number, 2 + height // 64, 2 + width // 64, generator=torch.Generator().manual_seed(seed)
    )
    smooth = torch.nn.functional.interpolate(
        grid, size=(-(-height // patch), -(-width // patch)), mode="bicubic"
    )
    full = torch.nn.functional.interpolate(smooth, scale_factor=patch)[0, :, :height, :width].numpy()
    low, high = (bound(full, axis=(1, 2), keepdims=True) for bound in (np.min, np.max))
    return (full - low) / (high - low)


def binary_unary(foreground: np.ndarray) -> np.ndarray:
    return -np.log(np.stack([foreground, 1 - foreground]) + np.float32(1e-8))


def random_unary(labels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    scores = torch.from_numpy(6 * coarse_maps(labels, height, width, seed=seed))
    return -scores.log_softmax(dim=0).numpy()


def test_without_pairs_the_mask_is_where_the_map_is_at_least_half():
    maps = coarse_maps(3, 20, 30)
    maps[0, 0, :4] = 0, 1, 0.5, np.nextafter(np.float32(0.5), np.float32(0))
    found = DenseCrf(random_image(20, 30), NO_PAIRS).binary(maps)
    np.testing.assert_array_equal(found, maps >= 0.5)


def test_a_map_of_zero_is_an_energy_of_eighteen_for_the_foreground_and_none_for_the_rest():
    unary = binary_unary(np.zeros((1, 1), np.float32))
    assert unary[0, 0, 0] == pytest.approx(18.42, abs=0.01)
    assert unary[1, 0, 0] == pytest.approx(0, abs=1e-6)
    shares = DenseCrf(random_image(1, 1), NO_PAIRS).infer(unary)
    assert np.log(shares[1, 0, 0] / shares[0, 0, 0]) == pytest.approx(18.42, abs=0.01)


def test_without_pairs_the_shares_are_the_softmax_of_minus_the_energies():
    unary = np.random.default_rng(0).uniform(0, 120, (11, 7, 9)).astype(np.float32)
    expected = torch.from_numpy(-unary).softmax(dim=0).numpy()
    found = DenseCrf(random_image(7, 9), NO_PAIRS).infer(unary)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("number", [1, 3, 8, 11])
def test_binary_equals_one_inference_of_two_labels_for_each_map(number):
    image = halves()
    maps = coarse_maps(number, 40, 60)
    crf = DenseCrf(image)
    found = crf.binary(maps)
    for mask, foreground in zip(found, maps, strict=True):
        shares = crf.infer(binary_unary(foreground))
        clear = np.abs(shares[0] - shares[1]) > 1e-4
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(mask[clear], (shares[0] > shares[1])[clear])


@pytest.mark.parametrize("labels", [2, 5, 9])
def test_the_order_of_labels_does_not_matter(labels):
    unary, crf = random_unary(labels, 40, 60), DenseCrf(halves())
    order = np.random.default_rng(0).permutation(labels)
    np.testing.assert_allclose(crf.infer(unary)[order], crf.infer(unary[order]), atol=1e-4)


def test_probabilities_sum_to_one():
    shares = DenseCrf(random_image(40, 60)).infer(random_unary(9, 40, 60))
    assert shares.shape == (9, 40, 60)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)


def test_a_border_moves_to_the_edge_of_the_image():
    maps = np.full((1, 40, 60), 0.2, np.float32)
    maps[:, :, :36] = 0.8  # six pixels too far
    edge = np.arange(60) < 30
    assert (DenseCrf(halves()).binary(maps) == edge).all()


def test_a_image_without_contrast_is_smoothed_by_position_only():
    maps = np.full((1, 40, 60), 0.3, np.float32)
    maps[:, 20, 30] = 0.7
    grey = np.full((40, 60, 3), 130, np.uint8)
    assert not DenseCrf(grey).binary(maps).any()
    np.testing.assert_array_equal(DenseCrf(grey).binary(maps), DenseCrf(grey // 2).binary(maps))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 2)])
def test_tiny_images_work(size):
    crf = DenseCrf(random_image(*size))
    maps = np.random.default_rng(0).random((2, *size), dtype=np.float32)
    assert crf.binary(maps).shape == maps.shape
    assert np.isfinite(crf.infer(maps)).all()


def test_no_map_at_all_gives_no_mask():
    assert DenseCrf(random_image(4, 5)).binary(np.empty((0, 4, 5), np.float32)).shape == (0, 4, 5)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.5])
def test_a_map_that_is_no_probability_is_refused(bad):
    maps = np.full((2, 8, 9), 0.5, np.float32)
    maps[1, 2, 3] = bad
    with pytest.raises(InputError, match=r"foreground probabilities.*numbers from 0 to 1") as caught:
        DenseCrf(random_image(8, 9)).binary(maps)
    assert str(maps.max()) in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_energy_that_is_not_finite_is_refused(bad):
    unary = np.ones((2, 8, 9), np.float32)
    unary[1, 2, 3] = bad
    with pytest.raises(InputError, match=r"energies.*finite numbers"):
        DenseCrf(random_image(8, 9)).infer(unary)


def test_maps_of_another_size_are_refused():
    crf = DenseCrf(random_image(8, 9))
    with pytest.raises(InputError, match=r"found foreground probabilities of 8 x 9 pixels.*image's 9 x 8"):
        crf.binary(np.full((1, 9, 8), 0.5, np.float32))


def test_a_reach_too_small_for_the_image_is_refused():
    with pytest.raises(InputError, match="larger standard deviations"):
        DenseCrf(random_image(8, 9), CrfSettings(colour_std=0.01))


def test_the_input_is_not_changed():
    image, maps, unary = random_image(20, 30), coarse_maps(2, 20, 30), random_unary(3, 20, 30)
    copies = image.copy(), maps.copy(), unary.copy()
    crf = DenseCrf(image)
    crf.binary(maps)
    crf.infer(unary)
    for now, before in zip((image, maps, unary), copies, strict=True):
        np.testing.assert_array_equal(now, before)


def test_the_result_does_not_depend_on_the_number_of_threads():
    image, maps, unary = random_image(150, 200), coarse_maps(3, 150, 200), random_unary(9, 150, 200)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            crf = DenseCrf(image)
            results.append((crf.binary(maps), crf.infer(unary)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def peer_labels(image: np.ndarray, unary: np.ndarray, settings: CrfSettings) -> np.ndarray:
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed: extra crf")
    height, width = image.shape[:2]
    peer = densecrf.DenseCRF2D(width, height, len(unary))
    peer.setUnaryEnergy(np.ascontiguousarray(unary.reshape(len(unary), -1)))
    peer.addPairwiseGaussian(sxy=settings.gaussian_std, compat=settings.gaussian_weight)
    peer.addPairwiseBilateral(
        sxy=settings.bilateral_std,
        srgb=settings.colour_std,
        rgbim=image.copy(),
        compat=settings.bilateral_weight,
    )
    return np.asarray(peer.inference(settings.num_steps)).argmax(axis=0).reshape(height, width)


def images(height: int, width: int) -> dict[str, np.ndarray]:
    blocks = random_image(4, 5)[np.arange(height) * 4 // height][:, np.arange(width) * 5 // width]
    return {"noise": random_image(height, width), "piecewise": blocks, "flat": np.full_like(blocks, 90)}


def photograph(name: str, height: int, width: int) -> np.ndarray:
    files = sorted((PHOTOGRAPHS / name / "images").glob("*.jpg"))
    if not files:
        pytest.skip(f"no photographs in {PHOTOGRAPHS / name}")
    with Image.open(files[1]) as image:
        return np.array(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.exhaustive("kind", "size")
@pytest.mark.parametrize("size", [(288, 288), (375, 500)])
@pytest.mark.parametrize("kind", ["coco-free", "clothing", "noise", "piecewise", "flat"])
def test_labels_agree_with_pydensecrf2(kind, size):
    image = images(*size)[kind] if kind in images(1, 1) else photograph(kind, *size)
    settings, crf = CrfSettings(), DenseCrf(image)
    maps = coarse_maps(3, *size)
    for mask, foreground in zip(crf.binary(maps), maps, strict=True):
        expected = peer_labels(image, binary_unary(foreground), settings) == 0
        assert (mask != (foreground >= 0.5)).mean() > 0.01  # the CRF did something
        assert (mask == expected).mean() >= 0.999
    unary = random_unary(5, *size)
    other = replace(settings, gaussian_std=2.0, colour_std=8.0, num_steps=5)
    found = DenseCrf(image, other).infer(unary).argmax(axis=0)
    assert (found == peer_labels(image, unary, other)).mean() >= 0.999
