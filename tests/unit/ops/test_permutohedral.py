import numpy as np
import pytest
import torch

from lexiseg.core.errors import InputError
from lexiseg.ops.lanes import LANES
from lexiseg.ops.permutohedral import PermutohedralLattice


def points(number: int, dimensions: int, spread: float = 3.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, spread, (dimensions, number)).astype(np.float32)


def brute_force(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    squares = np.square(features[:, :, None] - features[:, None]).sum(axis=0)
    return np.exp(-squares / 2) @ values


def pixels(height: int, width: int, dimensions: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].reshape(2, -1) / 4
    colours = np.random.default_rng(1).uniform(0, 0.5, (3, height * width))
    return np.concatenate([[x], [y], colours])[:dimensions].astype(np.float32)


@pytest.mark.parametrize("dimensions", [2, 5])
def test_filtering_is_close_to_the_sum_over_all_pairs(dimensions):
    features = pixels(30, 40, dimensions)
    values = np.random.default_rng(2).standard_normal((1200, 3)).cumsum(axis=0).astype(np.float32)
    lattice = PermutohedralLattice.build(features)
    ones = np.ones((1200, 1), np.float32)
    found = lattice.filter(values) / lattice.filter(ones)
    exact = brute_force(features, values) / brute_force(features, ones)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.99
    assert np.abs(found - exact).max() < 0.25 * np.ptp(exact)


def test_the_reach_is_one_standard_deviation():
    y, x = np.mgrid[:41, :41].reshape(2, -1)
    spike = np.zeros((1681, 1), np.float32)
    spike[20 * 41 + 20] = 1
    lattice = PermutohedralLattice.build(np.stack([x, y]).astype(np.float32) / 5)
    response = lattice.filter(spike)[:, 0]
    for offset in (x - 20, y - 20):
        assert np.sqrt((response * offset**2).sum() / response.sum()) == pytest.approx(5, rel=0.06)


def test_filtering_is_symmetric_where_no_vertex_is_missing():
    # Along the border, the order in which directions are blurred shows.
    lattice = PermutohedralLattice.build(pixels(40, 40, 2))
    matrix = lattice.filter(np.eye(1600, dtype=np.float32)).reshape(40, 40, 40, 40)
    inside = matrix[10:30, 10:30, 10:30, 10:30].reshape(400, 400)
    np.testing.assert_allclose(inside, inside.T, atol=1e-5)


def test_a_constant_stays_constant_when_divided_by_the_filter_of_ones():
    lattice = PermutohedralLattice.build(points(500, 5))
    ones = np.ones((500, 1), np.float32)
    np.testing.assert_allclose(lattice.filter(7 * ones) / lattice.filter(ones), 7, rtol=1e-5)


def test_weights_of_a_point_are_shares():
    weights = PermutohedralLattice.build(points(500, 5)).weights
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights.min() > -1e-5


def test_normalised_multiplies_by_one_over_the_root_on_both_sides():
    lattice, values = PermutohedralLattice.build(points(300, 5)), points(2, 300)
    norm = 1 / np.sqrt(lattice.filter(np.ones((300, 1), np.float32)))
    expected = norm * lattice.filter(norm * values)
    np.testing.assert_allclose(lattice.normalised().filter(values), expected, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, LANES - 1, LANES, LANES + 3])
def test_channels_do_not_mix(channels):
    lattice = PermutohedralLattice.build(points(200, 5))
    values = np.random.default_rng(3).standard_normal((200, channels)).astype(np.float32)
    together = lattice.filter(values)
    assert together.shape == values.shape
    for channel in range(channels):
        alone = lattice.filter(values[:, channel : channel + 1])
        np.testing.assert_array_equal(together[:, channel : channel + 1], alone)


def test_add_filtered_adds_to_what_is_there():
    lattice = PermutohedralLattice.build(points(200, 5))
    values = np.random.default_rng(3).standard_normal((200, LANES)).astype(np.float32)
    total = np.ones_like(values)
    lattice.add_filtered(values, 2.5, total)
    np.testing.assert_allclose(total, 1 + 2.5 * lattice.filter(values), rtol=1e-4, atol=1e-4)


def test_neighbours_name_each_other():
    lattice = PermutohedralLattice.build(points(300, 5, spread=1.5))
    for direction in lattice.neighbours:
        having = np.flatnonzero(direction[:, 0])
        assert len(having) > 0
        np.testing.assert_array_equal(direction[direction[having, 0], 1], having)


def test_a_table_that_had_to_grow_still_finds_every_vertex_once():
    features = points(30_000, 5, spread=20.0)
    lattice = PermutohedralLattice.build(features)
    assert lattice.num_vertices > 60_000
    assert lattice.corners.min() == 1
    assert lattice.corners.max() == lattice.num_vertices
    # A point alone in its simplex hears itself only: the weight is the same, wherever it lies.
    part = PermutohedralLattice.build(features[:, :1])
    assert part.num_vertices == 6


def test_points_in_one_place_share_six_vertices():
    lattice = PermutohedralLattice.build(np.full((5, 400), 1.3, np.float32))
    assert lattice.num_vertices == 6
    assert (lattice.corners == lattice.corners[0]).all()


def test_negative_and_far_coordinates_work():
    features = points(50, 2) - 1e4
    lattice = PermutohedralLattice.build(features)
    assert np.isfinite(lattice.filter(np.ones((50, 1), np.float32))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_points_that_cannot_be_numbered_are_refused(bad):
    features = points(20, 5)
    features[3, 7] = bad
    with pytest.raises(InputError, match=r"permutohedral lattice.*standard deviations") as caught:
        PermutohedralLattice.build(features)
    assert "larger standard deviations" in str(caught.value)


def test_the_result_does_not_depend_on_the_number_of_threads():
    features = pixels(160, 200, 5)
    features[2:] *= 60  # enough vertices for several bands
    values = np.random.default_rng(4).standard_normal((32_000, 3)).astype(np.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(PermutohedralLattice.build(features).normalised().filter(values))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_the_order_of_the_points_does_not_matter():
    features, values = points(20_000, 5), points(1, 20_000)
    order = np.random.default_rng(5).permutation(20_000)
    found = PermutohedralLattice.build(features[:, order]).filter(values[order])
    np.testing.assert_allclose(found, PermutohedralLattice.build(features).filter(values)[order], rtol=1e-3)
