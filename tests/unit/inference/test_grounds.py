"""Evidence adds up to what it is said to be a part of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lexiseg.inference.explain import LEAST_SHARE, explain_regions
from lexiseg.inference.grounds import AskedPixel, tokens_at, values_at
from toy_segmenter import ColourSegmenter

WORDS = ["red", "green", "blue"]
POINTS = [(0, 0), (17, 9), (44, 30), (63, 39)]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("changes", [{}, {"window": 16, "window_stride": 8}, {"short_side": 80}])
@pytest.mark.parametrize("point", POINTS)
def test_values_at_a_pixel_are_those_that_decided(image, changes, point):
    model = ColourSegmenter()
    found = model.explain(image, WORDS, point, **changes)
    result = model.segment(image, WORDS, **changes)
    assert found.ranking[0].name == found.label
    assert found.ranking[0].value == pytest.approx(result.score_map[point[1], point[0]], abs=1e-5)


def test_in_a_tiled_image_the_views_that_decided_are_asked():
    image = (
        np.random.default_rng(0).integers(0, 256, (10, 16, 3)).astype(np.uint8).repeat(30, 0).repeat(30, 1)
    )
    model = ColourSegmenter(tiles="auto")
    result, encoded = model.segment(image, WORDS), model.encode(image)
    assert encoded.tiling is not None
    for x, y in ((5, 5), (250, 170), (479, 299)):
        found = model.explain(encoded, WORDS, (x, y))
        assert found.ranking[0].name == found.label
        assert found.ranking[0].value == pytest.approx(result.score_map[y, x], abs=1e-5)


def test_synonyms_are_told_one_by_one_and_the_best_decides(image):
    found = ColourSegmenter().explain(
        image, {"warm": ["red", "white"], "cold": ["blue"]}, (20, 20), synonyms="max"
    )
    words = [each for each in found.evidence if each.supports == "warm"]
    assert {each.name for each in words} == {"warm", "red", "white"}
    (warm,) = [each.value for each in found.ranking if each.name == "warm"]
    assert max(each.value for each in words) <= warm + 0.05  # names are compared on the grid, then resized


@pytest.mark.parametrize("point", POINTS)
def test_tokens_of_a_pixel_are_interpolated_as_scores_are(image, point):
    class Linear(ColourSegmenter):
        def class_scores(self, features, embeddings):
            return torch.einsum("bnd,sd->bsn", features.tokens, embeddings).reshape(
                1, len(embeddings), *features.grid
            )

    model = Linear()
    encoded = model.encode(image)
    names = model.name_classes(WORDS, model.settings)
    asked = AskedPixel(encoded=encoded, class_names=names, settings=model.settings, point=point, place=0)
    values = values_at(model, asked, names.embeddings, names.counts)
    np.testing.assert_allclose((names.embeddings @ tokens_at(encoded, point)).numpy(), values, atol=1e-5)


def test_below_a_threshold_is_background_with_what_is_lacking(image):
    changes = {"background": "threshold", "threshold": 5.0}
    found = ColourSegmenter().explain(image, WORDS, (3, 3), **changes)
    assert (found.label, found.runner_up) == ("background", found.ranking[0].name)
    assert found.margin == pytest.approx(5.0 - found.ranking[0].value, abs=1e-5)


def test_a_pixel_that_its_neighbours_decided_says_so(image):
    model = ColourSegmenter()
    result = model.segment(image, WORDS, refine="guided")
    alone = model.segment(image, WORDS).label_map
    y, x = (int(each[0]) for each in (result.label_map != alone).nonzero())
    found = model.explain(image, WORDS, (x, y), refine="guided")
    assert found.margin < 0
    assert "borders were moved" in found.notes[0]
    assert "though" in found.verdict()


def test_regions_are_apart_and_the_largest_comes_first():
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, :20], image[:, 20:50], image[:, 50:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    model = ColourSegmenter()
    encoded, names = model.encode(image), model.name_classes(WORDS, model.settings)
    result = model.segment(encoded, names)
    found = explain_regions(model, encoded, names, result, model.settings)
    assert [each.label for _, each in found][:3] == ["green", "red", "blue"]
    assert (np.sum([region for region, _ in found], axis=0) <= 1).all()
    assert all(region.mean() >= LEAST_SHARE for region, _ in found)
    for region, each in found:
        assert region[each.point[1], each.point[0]]
        assert (result.label_map[region] == result.label_map[each.point[1], each.point[0]]).all()
    assert replace(found[0][1], runner_up=None).verdict() == "green. No other class competed here."
