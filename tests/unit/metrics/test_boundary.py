import numpy as np
import pytest

from lexiseg.metrics.boundary import band_distance, border_band, count_bands
from lexiseg.metrics.image_counts import ImageCounts


def erode(mask, distance):
    """Erode with a 3 × 3 square, ``distance`` times, zeros outside the image: the paper's definition."""
    for _ in range(distance):
        padded = np.pad(mask, 1)
        shifts = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
        mask = np.logical_and.reduce(shifts)
    return mask


def blocks(size, num_labels, seed):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, num_labels, (-(-size[0] // 7), -(-size[1] // 9)))
    return np.kron(coarse, np.ones((7, 9)))[: size[0], : size[1]].astype(np.uint16)


@pytest.mark.parametrize("size", [(40, 61), (9, 30), (3, 3), (1, 20)])
@pytest.mark.parametrize("distance", [1, 2, 4])
@pytest.mark.parametrize("num_labels", [1, 3, 600])
def test_band_of_every_class_is_its_mask_less_its_erosion(size, distance, num_labels):
    label_map = blocks(size, num_labels, distance)
    expected = np.zeros(size, bool)
    for label in np.unique(label_map):
        mask = label_map == label
        expected |= mask & ~erode(mask, distance)
    assert np.array_equal(border_band(label_map, distance), expected)


def test_boundary_iou_is_the_papers_on_binary_masks():
    true, predicted = np.zeros((30, 40), np.uint16), np.zeros((30, 40), np.uint16)
    true[5:20, 8:30], predicted[7:22, 8:28] = 300, 300
    distance = band_distance((30, 40), 0.04)
    assert distance == 2
    bands = [(m == 300) & ~erode(m == 300, distance) for m in (true, predicted)]
    expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    margins = ImageCounts.join([count_bands(true, predicted, 0.04)]).margins(301)
    t, p, c = margins.amounts[margins.label == 300][0]
    assert c / (t + p - c) == pytest.approx(expected)


def test_void_is_dropped_from_both_bands():
    true, predicted = blocks((30, 30), 3, 0), blocks((30, 30), 3, 1)
    true[:, 15:] = 65535
    margins = ImageCounts.join([count_bands(true, predicted)]).margins(3)
    distance = band_distance((30, 30))
    in_band = border_band(predicted, distance) & (true != 65535)
    for label in range(3):
        assert margins.amounts[margins.label == label, 1].sum() == (in_band & (predicted == label)).sum()


def test_width_is_a_share_of_the_diagonal_and_at_least_one_pixel():
    assert band_distance((300, 400)) == 10
    assert band_distance((300, 400), 0.03) == 15
    assert band_distance((4, 4)) == 1
