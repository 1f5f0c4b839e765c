import numpy as np
import pytest

from lexiseg.ops import guided_filter as module
from lexiseg.ops.guided_filter import guided_filter


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def around(y: int, x: int, radius: int) -> tuple[slice, slice]:
    return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)


def brute_box(maps: np.ndarray, radius: int) -> np.ndarray:
    height, width, _ = maps.shape
    mean = np.empty_like(maps)
    for y in range(height):
        for x in range(width):
            rows, columns = (
                slice(max(0, y - radius), y + radius + 1),
                slice(max(0, x - radius), x + radius + 1),
            )
            mean[y, x] = maps[rows, columns].mean(axis=(0, 1))
    return mean


@pytest.mark.parametrize("radius", [1, 3, 40])
def test_box_mean_equals_the_mean_of_the_part_inside_the_image(radius):
    maps = image(19, 23, 5)
    np.testing.assert_allclose(module._box_mean(maps, radius), brute_box(maps, radius), atol=1e-6)


def test_coefficients_equal_a_ridge_regression_in_every_neighbourhood():
    maps, guide, radius, epsilon = image(9, 8, 2), image(9, 8, 3, seed=1), 2, 0.01
    found = module._fit(maps, guide, radius, epsilon).reshape(9, 8, 4, 2)
    for y, x in [(0, 0), (4, 4), (8, 2)]:
        inside = around(y, x, radius)
        colours, values = guide[inside].reshape(-1, 3), maps[inside].reshape(-1, 2)
        centred = colours - colours.mean(0)
        covariance = centred.T @ centred / len(colours) + epsilon * np.eye(3)
        slope = np.linalg.solve(covariance, centred.T @ (values - values.mean(0)) / len(colours))
        np.testing.assert_allclose(found[y, x, :3], slope, atol=1e-4)
        np.testing.assert_allclose(found[y, x, 3], values.mean(0) - colours.mean(0) @ slope, atol=1e-4)


def test_maps_that_sum_to_one_still_do_at_the_larger_size():
    maps = image(12, 10, 4)
    maps /= maps.sum(axis=2, keepdims=True)
    filtered = guided_filter(maps, image(12, 10, 3), image(24, 21, 3, seed=2), radius=3, epsilon=1e-3)
    assert filtered.shape == (24, 21, 4)
    np.testing.assert_allclose(filtered.sum(axis=2), 1, atol=1e-4)


def test_a_step_in_the_image_stays_sharp_and_a_step_without_one_is_smoothed():
    step = np.zeros((16, 32, 1), np.float32)
    step[:, 16:] = 1
    same = guided_filter(step, np.repeat(step, 3, 2), np.repeat(step, 3, 2), radius=4, epsilon=1e-4)
    flat = np.full((16, 32, 3), 0.5, np.float32)
    other = guided_filter(step, flat, flat, radius=4, epsilon=1e-4)
    np.testing.assert_allclose(same[:, :, 0], step[:, :, 0], atol=0.01)
    assert 0.1 < other[8, 14, 0] < 0.5
