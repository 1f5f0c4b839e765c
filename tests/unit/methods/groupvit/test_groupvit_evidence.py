import numpy as np
import pytest

from tiny_groupvit import WORDS, make_groupvit

NAMES = WORDS[1:7]


@pytest.fixture
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    return np.kron(coarse, np.ones((10, 10, 1))).astype(np.uint8)


@pytest.mark.parametrize("windows", [{}, {"window": None, "window_stride": None}])
def test_a_pixel_is_explained_by_its_segment_and_the_window_as_a_whole(image, windows):
    model = make_groupvit(**windows).eval()
    labels = model.segment(image, NAMES).label_map
    for point in ((3, 3), (40, 20), (69, 49)):
        found = model.explain(image, NAMES, point)
        assert found.label == NAMES[labels[point[1], point[0]]]
        assert found.measure == "affinity"
        assert found.region[point[1], point[0]]
        kinds = [each.kind for each in found.evidence]
        assert kinds == ["segment", "image"] * 2
        assert found.label in found.notes[-1]  # one of those that the window may have


def test_the_region_is_all_that_one_segment_holds(image):
    model = make_groupvit(window=None, window_stride=None).eval()
    first = model.explain(image, NAMES, (3, 3))
    labels = model.segment(image, NAMES).label_map
    assert len(np.unique(labels[first.region])) == 1
    y, x = (int(each[-1]) for each in first.region.nonzero())
    assert (model.explain(image, NAMES, (x, y)).region == first.region).all()


def test_below_the_threshold_is_background_with_a_margin_to_it(image):
    model = make_groupvit(threshold=1.0, background="threshold").eval()
    result = model.segment(image, NAMES)
    y, x = (int(each[0]) for each in (result.label_map == len(NAMES)).nonzero())
    found = model.explain(image, NAMES, (x, y))
    assert found.label == "background"
    assert found.runner_up in NAMES
    assert found.margin == pytest.approx(1.0 - result.score_map[y, x])
