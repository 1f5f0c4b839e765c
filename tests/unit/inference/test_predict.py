"""From features to a label map: sizes, windows, chunks, background."""

import numpy as np
import pytest
import torch

from lexiseg.core.errors import InputError, UnknownNameError
from lexiseg.inference import predict
from lexiseg.inference.settings import InferenceSettings
from toy_segmenter import ColourSegmenter


def quarters(height: int = 48, width: int = 64) -> np.ndarray:
    """Draw red, green, blue and white quarters."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 255
    return image


WORDS = "red, green, blue, white"


def corner_labels(label_map: np.ndarray) -> list[int]:
    height, width = label_map.shape
    places = [(1, 1), (1, width - 2), (height - 2, 1), (height - 2, width - 2)]
    return [int(label_map[place]) for place in places]


@pytest.mark.parametrize("size", [(48, 64), (47, 65), (300, 200), (33, 500)])
def test_label_map_has_the_original_size_and_the_right_labels(size):
    result = ColourSegmenter().segment(quarters(*size), WORDS)
    assert result.label_map.shape == size
    assert result.label_map.dtype == np.uint16
    assert corner_labels(result.label_map) == [0, 1, 2, 3]
    assert {share.name for share in result.shares()} == {"red", "green", "blue", "white"}
    assert min(share.share for share in result.shares()) > 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (2, 900)])
def test_tiny_and_narrow_images_work(size):
    result = ColourSegmenter(max_long_side=64).segment(np.full((*size, 3), 255, np.uint8), WORDS)
    assert result.label_map.shape == size
    assert (result.label_map == 3).all()


@pytest.mark.parametrize("blend", ["mean", "tent"])
def test_windows_give_the_labels_of_the_whole_image_away_from_borders(blend):
    image = quarters(64, 96)
    whole = ColourSegmenter(short_side=64).segment(image, WORDS).label_map
    windowed = ColourSegmenter(short_side=64, window=32, window_stride=20, blend=blend).segment(image, WORDS)
    assert corner_labels(windowed.label_map) == [0, 1, 2, 3]
    assert (whole == windowed.label_map).mean() > 0.97


@pytest.mark.exhaustive
def test_windows_processed_in_many_small_bands_and_chunks_give_identical_results():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (400, 300, 3), np.uint8)
    words = [f"word {index}" for index in range(500)]
    model = ColourSegmenter(short_side=128, window=64, window_stride=40)
    roomy = model.segment(image, words, memory_mb=1024)
    chunks_before = len(model.scored_names)
    tight = model.segment(image, words, memory_mb=1)
    assert len(model.scored_names) - chunks_before > chunks_before
    np.testing.assert_array_equal(roomy.label_map, tight.label_map)
    np.testing.assert_array_equal(roomy.score_map, tight.score_map)


def test_ten_thousand_words_are_scored_in_chunks_and_equal_the_unchunked_answer():
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    words = [f"word {index}" for index in range(10_000)]
    model = ColourSegmenter(short_side=64)
    chunked = model.segment(image, words, memory_mb=1)
    assert max(model.scored_names) <= 2**20 // (4 * 3 * 16 * 16)
    whole = model.segment(image, words, memory_mb=4096)
    assert max(model.scored_names) == 10_000
    np.testing.assert_array_equal(chunked.label_map, whole.label_map)


def test_chunks_never_split_the_names_of_a_class():
    slices = list(predict.chunks([1, 3, 1, 2, 5, 1], 4))
    assert slices == [
        (slice(0, 2), slice(0, 4)),
        (slice(2, 4), slice(4, 7)),
        (slice(4, 5), slice(7, 12)),
        (slice(5, 6), slice(12, 13)),
    ]


def test_joint_methods_are_scored_with_the_whole_vocabulary_at_once():
    words = [f"word {index}" for index in range(3000)]
    model = ColourSegmenter(short_side=64, independent_classes=False)
    model.segment(quarters(), words, memory_mb=1)
    assert set(model.scored_names) == {3000}


def test_encoding_once_serves_many_vocabularies():
    model = ColourSegmenter()
    encoded = model.encode(quarters())
    first, second = model.segment(encoded, WORDS), model.segment(encoded, "blue, red")
    assert len(model.encoded_batches) == 1
    np.testing.assert_array_equal(first.label_map, model.segment(quarters(), WORDS).label_map)
    assert second.label_map[1, 1] == 1


def test_batch_gives_the_same_as_alone_and_shares_encoder_calls():
    images = [quarters(), quarters()[::-1].copy(), quarters(32, 80)]
    model = ColourSegmenter()
    together = model.segment(images, WORDS)
    assert model.encoded_batches == [2, 1]
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(result.label_map, model.segment(image, WORDS).label_map)


def test_synonyms_take_the_best_name_or_their_mean():
    image = np.full((16, 16, 3), (0, 0, 255), np.uint8)
    words = {"red": ["blue"], "black": []}  # blue counts as "red" by its synonym
    by_max = ColourSegmenter().segment(image, words, synonyms="max")
    by_mean = ColourSegmenter().segment(image, words, synonyms="mean")
    assert by_max.score_map.max() == pytest.approx(0, abs=1e-3)
    assert by_mean.score_map[0, 0] == pytest.approx(-(2**0.5) / 2, abs=1e-3)
    assert (by_max.label_map == 0).all()


def test_background_none_gives_every_pixel_a_word():
    result = ColourSegmenter().segment(quarters(), "red, green")
    assert result.vocabulary.names == ("red", "green")
    assert set(np.unique(result.label_map)) <= {0, 1}


def test_background_by_name_competes_as_a_word():
    model = ColourSegmenter()
    result = model.segment(quarters(), "red, green", background="name")
    assert result.vocabulary.names == ("red", "green", "background")
    assert result.vocabulary.background == 2
    assert model.scored_names == [3]


def test_background_by_threshold_takes_poor_pixels_and_never_competes():
    model = ColourSegmenter()
    result = model.segment(quarters(), "background, red, green", background="threshold", threshold=-0.5)
    assert model.scored_names == [2]
    assert corner_labels(result.label_map) == [1, 2, 0, 0]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"background": "threshold"}, "no threshold, and this model has none"),
        ({"short_side": 0}, "short_side = 0"),
        ({"window": 30}, "multiple of the model's stride, 4 pixels"),
        ({"window": 32, "window_stride": 40}, "at most the window's side, 32"),
    ],
)
def test_unusable_settings_are_explained(changes, part):
    with pytest.raises(InputError) as caught:
        ColourSegmenter().segment(quarters(), WORDS, **changes)
    assert part in str(caught.value)


def test_unknown_choice_is_explained_where_no_type_checker_runs():
    settings = InferenceSettings()
    object.__setattr__(settings, "background", "sometimes")
    with pytest.raises(
        InputError, match="background = 'sometimes'; expected one of: none, name, words, threshold"
    ):
        settings.__post_init__()


def test_threshold_with_only_background_is_refused():
    with pytest.raises(InputError, match="background as the only class"):
        ColourSegmenter().segment(quarters(), "background", background="threshold", threshold=0.0)


def test_misspelt_setting_is_refused():
    with pytest.raises(UnknownNameError, match=r"no inference setting of that name.*Nearest: background"):
        ColourSegmenter().segment(quarters(), WORDS, backgrund="none")


def test_scores_are_on_the_models_own_scale():
    result = ColourSegmenter().segment(quarters(), WORDS)
    assert result.score_map[1, 1] == pytest.approx(0, abs=1e-3)
    assert torch.isfinite(torch.from_numpy(result.score_map)).all()
