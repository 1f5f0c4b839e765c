import numpy as np

from lexiseg.ops.regions import colour_regions, region_means


def two_halves() -> np.ndarray:
    image = np.zeros((12, 20, 3), np.float32)
    image[:, 13:] = (1, 0, 0)
    return image


def test_areas_of_one_colour_become_one_region_each():
    (regions,) = colour_regions(two_halves(), [1.0], min_size=1)
    assert np.unique(regions).tolist() == [0, 1]
    assert (regions == (np.arange(20) >= 13)).all()


def test_regions_are_numbered_from_zero_and_larger_scales_give_fewer():
    image = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    cuts = colour_regions(image, [0.5, 2.0, 8.0], min_size=1)
    counts = [len(np.unique(regions)) for regions in cuts]
    assert [int(regions.max()) + 1 for regions in cuts] == counts
    assert counts[0] > counts[1] > counts[2] >= 1


def test_regions_smaller_than_the_minimum_join_a_neighbour():
    image = two_halves()
    image[5, 5] = (0, 1, 0)
    assert colour_regions(image, [1e-3], min_size=1)[0].max() == 2
    assert colour_regions(image, [1e-3], min_size=2)[0].max() == 1


def test_means_are_those_of_the_regions_averaged_over_the_cuts():
    maps = np.random.default_rng(1).random((4, 6, 3), dtype=np.float32)
    columns = np.broadcast_to(np.arange(6, dtype=np.int32) // 3, (4, 6)).copy()
    whole = np.zeros((4, 6), np.int32)
    means = region_means(maps, [columns, whole])
    expected = (maps[:, :3].mean((0, 1)) + maps.mean((0, 1))) / 2
    np.testing.assert_allclose(means[:, :3], np.broadcast_to(expected, (4, 3, 3)), atol=1e-6)


def test_one_pixel_and_one_row_are_images_too():
    for shape in [(1, 1, 3), (1, 9, 3), (9, 1, 3)]:
        (regions,) = colour_regions(np.zeros(shape, np.float32), [1.0], min_size=0)
        assert regions.max() == 0
