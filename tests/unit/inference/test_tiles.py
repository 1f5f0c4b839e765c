import itertools

import numpy as np
import pytest
import torch

from lexiseg.core.errors import InputError
from lexiseg.data.transforms import fitted_size
from lexiseg.inference.settings import InferenceSettings, current_names
from lexiseg.inference.tiles import MAX_SCALE, MAX_WINDOWS, TILED_FROM, placed_in, tiled_views
from lexiseg.ops.sliding_window import even_weights
from lexiseg.scoring.published import PROTOCOLS
from toy_segmenter import ColourSegmenter

WORDS = "red, blue"


class Positive(ColourSegmenter):
    """The toy with scores in (0, 1], of which one can be so many times another."""

    def class_scores(self, features, embeddings):
        return super().class_scores(features, embeddings).mul(4).exp()


def mosaic(cells: int, side: int) -> np.ndarray:
    """Draw a chequerboard of red and blue cells, each with a border that is neither."""
    image = np.full((cells * side, cells * side, 3), 120, np.uint8)
    for row in range(cells):
        for column in range(cells):
            colour = (255, 0, 0) if (row + column) % 2 else (0, 0, 255)
            image[row * side : row * side + side - 1, column * side : column * side + side - 1] = colour
    return image


def truth(cells: int, side: int) -> np.ndarray:
    place = np.arange(cells * side) // side
    return 1 - (place[:, None] + place) % 2


def test_what_is_small_in_a_large_image_is_found_by_default_and_was_not_before():
    image, right = mosaic(24, 8), truth(24, 8)
    tiled = ColourSegmenter(tiles="auto").segment(image, WORDS)
    shrunk = ColourSegmenter().segment(image, WORDS)
    assert (tiled.label_map == right).mean() > 0.95
    assert (shrunk.label_map == right).mean() < 0.8
    assert tiled.tiling["windows_size"] == [192, 192]
    views = tiled_views((192, 192), (32, 32), 4, InferenceSettings(short_side=32))
    assert tiled.to_json()["tiling"]["num_windows"] == sum(len(view.windows) for view in views)
    assert shrunk.tiling is None
    assert "tiling" not in shrunk.to_json()


def test_an_image_of_ordinary_size_is_seen_as_ever():
    image = mosaic(4, 12)  # 48 pixels: 1.5 times the model's 32
    tiled, shrunk = (
        ColourSegmenter(tiles="auto").segment(image, WORDS),
        ColourSegmenter().segment(image, WORDS),
    )
    assert tiled.tiling is None
    np.testing.assert_array_equal(tiled.label_map, shrunk.label_map)


def test_where_windows_begin_does_not_show():
    model, image = Positive(tiles="auto"), mosaic(6, 32)
    whole, cut = (model.segment(part, WORDS).label_map for part in (image, image[12:, 20:]))
    assert (whole[12:, 20:] != cut).mean() < 0.01


class Placed(ColourSegmenter):
    """Notes where windows lie."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.extents = []

    def encode_windows(self, images, extents, *regions):
        self.extents += extents.tolist()
        return super().encode_windows(images, extents, *regions)


@pytest.mark.parametrize(
    ("settings", "size"),
    [({}, (32, 48)), ({"tiles": "auto"}, (192, 192)), ({"window": 16, "window_stride": 8}, (32, 48))],
    ids=["whole", "tiles", "windows"],
)
def test_windows_are_told_where_in_their_image_they_lie(settings, size):
    model = Placed(**settings)
    encoded = model.encode(np.zeros((*size, 3), np.uint8))
    expected = [
        (window.top, window.top + window.height, window.left, window.left + window.width)
        for window in encoded.windows
        if (window.height, window.width) != encoded.resized_size
    ]
    shares = np.array(expected).reshape(-1, 4) / np.repeat(encoded.resized_size, 2)
    assert sorted(np.array(model.extents).reshape(-1, 4).round(2).tolist()) == sorted(
        shares.round(2).tolist()
    )
    assert len(model.encoded_batches) > 0


@pytest.mark.parametrize("size", [(192, 192), (90, 400), (4000, 3000), (700, 2000)])
def test_windows_cover_the_image_evenly_and_are_bounded(size):
    settings = InferenceSettings(short_side=32)
    whole = fitted_size(size, short_side=32, max_long_side=settings.max_long_side, multiple_of=4)
    views = tiled_views(size, whole, 4, settings)
    assert sum(len(view.windows) for view in views) <= MAX_WINDOWS
    assert max(views[-1].size[0] / whole[0], views[-1].size[1] / whole[1]) <= MAX_SCALE * 1.2
    for view in views:
        total = torch.zeros(view.size)
        for window, weights in zip(view.windows, even_weights(view.windows, view.size), strict=True):
            rows = slice(window.top, window.top + window.height)
            total[rows, window.left : window.left + window.width] += weights.rows[:, None] * weights.columns
        torch.testing.assert_close(total, torch.ones_like(total))
        assert placed_in(view, view.size) == view.windows
    # Each size is half of the next, as long as it is much larger than the whole view.
    for finer, coarser in itertools.pairwise(reversed(views)):
        assert finer.size[0] == pytest.approx(2 * coarser.size[0], abs=12)
    smallest = views[0].size[0] * views[0].size[1] / (whole[0] * whole[1])
    assert TILED_FROM * 0.9 < smallest**0.5 <= 2 * TILED_FROM * 1.1


def test_an_image_too_long_for_windows_is_seen_whole():
    settings = InferenceSettings(short_side=32)
    whole = fitted_size((20_000, 60), short_side=32, max_long_side=settings.max_long_side, multiple_of=4)
    assert tiled_views((20_000, 60), whole, 4, settings) == ()


def test_who_states_windows_states_how_large_images_are_seen():
    model, image = ColourSegmenter(tiles="auto"), mosaic(24, 8)
    assert model.segment(image, WORDS, window=16).tiling is None
    assert model.describe(WORDS, window=16)["settings"]["tiles"] == "off"
    assert model.segment(image, WORDS, tiles="off").tiling is None
    encoded = model.encode(image, tiles="off")
    assert model.segment(encoded, WORDS).tiling is None
    with pytest.raises(InputError, match="tiles = 'auto' for an image encoded with 'off'"):
        model.segment(encoded, WORDS, tiles="auto")


def test_the_model_chooses_by_its_own_scores_which_views_decide():
    model = Positive(tiles="auto")
    small, large = (model.segment(image, WORDS).tiling for image in (mosaic(24, 8), mosaic(2, 96)))
    assert (small["views"], large["views"]) == ("windows", "whole and windows")
    assert [size["decides"] for size in large["sizes"]] == [True] * 3
    assert not small["sizes"][0]["decides"]
    assert small["sizes"][-1]["decides"]


def test_named_protocols_see_images_as_their_sources_do():
    stated = [protocol for protocol in PROTOCOLS.values() if protocol.inference]
    assert stated
    assert {protocol.inference["tiles"] for protocol in stated} == {"off"}
    assert current_names({"short_side": 448})["tiles"] == "off"  # a record of an earlier version
