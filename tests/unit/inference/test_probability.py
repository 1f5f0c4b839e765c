"""Background by words and by probability, and small classes, against plain definitions."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.class_names import BACKGROUND_WORDS
from lexiseg.inference.settings import InferenceSettings
from toy_segmenter import ColourSegmenter

WORDS = {"red": ["crimson"], "green": [], "blue": []}


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def plain_probabilities(model, image, words, scale, **changes) -> tuple[np.ndarray, np.ndarray]:
    """Resize the scores of all names, softmax, best name of each class: all at once."""
    encoded = model.encode(image, **changes)
    names = model.name_classes(words, model.settings.changed(**changes))
    scores = model.class_scores(encoded.features[0], names.embeddings)
    every = (scale * interpolate(scores, size=image.shape[:2], mode="bilinear"))[0].softmax(dim=0)
    classes = torch.stack([part.amax(dim=0) for part in every.split(list(names.counts))])
    return np.asarray(names.labels)[classes.argmax(dim=0).numpy()], classes.amax(dim=0).numpy()


@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("background", ["probability", "name", "words"])
def test_pixels_of_low_probability_are_background(background, independent, image):
    model = ColourSegmenter(short_side=24, independent_classes=independent)
    labels, probabilities = plain_probabilities(
        model, image, WORDS, 3.0, background=background, min_probability=0.0
    )
    least = float(np.median(probabilities))
    found = model.segment(
        image, WORDS, background=background, min_probability=least, logit_scale=3.0, memory_mb=1
    )
    clear = np.abs(probabilities - least) > 1e-5
    expected = np.where(probabilities < least, 3, labels)
    np.testing.assert_array_equal(found.label_map[clear], expected[clear])
    assert (found.label_map == 3).any()
    assert found.settings["min_probability"] == least


def test_windows_and_chunks_change_nothing(image):
    model = ColourSegmenter(short_side=24)
    words = [f"word {index}" for index in range(300)]
    changes = {"background": "probability", "min_probability": 0.01, "window": 16}
    one = model.segment(image, words, **changes, memory_mb=64)
    chunked = model.segment(image, words, **changes, memory_mb=1)
    assert max(model.scored_names) == 300
    assert min(model.scored_names) < 100
    np.testing.assert_array_equal(one.label_map, chunked.label_map)


def test_without_a_least_probability_the_labels_are_those_of_every_day(image):
    model = ColourSegmenter(short_side=24)
    expected = model.segment(image, WORDS, background="words").label_map
    found = model.segment(image, WORDS, background="words", min_probability=0.0).label_map
    assert (expected == found).mean() > 0.99  # names compete after resizing there, before it here


def test_small_classes_lose_their_pixels_to_the_next_best():
    stripes = np.zeros((20, 40, 3), np.uint8)
    stripes[:, :, 0] = 255
    stripes[:, 32:, 0], stripes[:, 32:, 1] = 0, 255
    stripes[:, 36:, 1], stripes[:, 36:, 2] = 0, 255  # 80 % red, 10 % green, 10 % blue
    model = ColourSegmenter(short_side=20)
    for share, expected in ((0.05, {0, 1, 2}), (0.1, {0})):
        found = model.segment(stripes, ["red", "green", "blue"], min_area_share=share)
        assert set(np.unique(found.label_map)) == expected
    found = model.segment(stripes, ["red", "green", "blue"], min_area_share=1.0)
    assert set(np.unique(found.label_map)) == {0}, "the largest class stays where none would be left"


def test_background_words_are_stuff_that_is_no_class():
    model = ColourSegmenter()
    settings = model.settings.changed(background="words")
    names = model.name_classes({"bed": [], "street": ["road", "Hill"]}, settings)
    of_background = [name for name, label in zip(names.names, names.owner, strict=True) if label == 2]
    assert of_background == [word for word in BACKGROUND_WORDS if word not in ("bed", "road", "hill")]
    assert names.vocabulary.names == ("bed", "street", "background")
    own = model.name_classes(Vocabulary(names=("background", "cat")), settings)
    assert own.counts == (len(BACKGROUND_WORDS), 1)
    with pytest.raises(VocabularyError, match="every one of them among the words"):
        model.name_classes(list(BACKGROUND_WORDS), settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"background": "probability"}, "no least probability, and this model has none of its own"),
        ({"min_probability": 0.1}, "background = 'none', where it has no effect"),
        ({"background": "threshold", "threshold": 0.1, "min_probability": 0.1}, "where it has no effect"),
        ({"logit_scale": 50.0}, "without a least probability, where it has no effect"),
        ({"min_probability": 1.5, "background": "probability"}, "expected a number from 0 to 1"),
        ({"min_area_share": -0.1}, "expected a number from 0 to 1"),
        ({"logit_scale": 0.0}, "expected a number above 0"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_or_would_do_nothing_are_refused(changes, message, image):
    with pytest.raises(InputError, match=message):
        ColourSegmenter().segment(image, ["red"], **changes)


def test_methods_that_decide_otherwise_refuse_probabilities(image):
    model = ColourSegmenter()
    model.has_probabilities = False
    for changes in ({"background": "probability", "min_probability": 0.1}, {"min_area_share": 0.1}):
        with pytest.raises(InputError, match="this one decides by regions"):
            model.segment(image, ["red"], **changes)


def test_a_step_belongs_to_its_window():
    settings = InferenceSettings(window=224, window_stride=112)
    assert settings.changed(window=96).window_stride is None
    assert settings.changed(window=96, window_stride=32).window_stride == 32
    assert settings.changed(short_side=96).window_stride == 112
