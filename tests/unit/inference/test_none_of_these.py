import dataclasses

import numpy as np
import pytest

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.inference.none_of_these import ABSENT_WORDS, COMPETING, AbsentScores, fit_absent_scores
from toy_segmenter import ColourSegmenter


def photographs(count: int = 12) -> list[np.ndarray]:
    """Draw patches of grey tones and browns: no word of the toy's is there."""
    rng = np.random.default_rng(0)
    return [
        np.repeat(np.repeat(rng.integers(60, 180, (4, 4, 3)), 8, 0), 8, 1).astype(np.uint8)
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def model():
    model = ColourSegmenter()
    model.absent_scores = fit_absent_scores(model, photographs(), draws=4)
    return model


def half_red() -> np.ndarray:
    image = np.full((32, 32, 3), (97, 88, 72), np.uint8)
    image[:, :16] = (255, 0, 0)
    return image


def test_an_image_without_the_words_is_doubtful_and_one_with_a_word_is_not(model):
    absent = model.segment(photographs()[0], "accordion, anvil")
    assert absent.is_doubtful
    assert absent.unknown.any()
    assert absent.to_json()["absent_chance"] == absent.absent_chance > 0.05
    there = model.segment(half_red(), "red, anvil")
    assert not there.is_doubtful
    assert there.unknown is None
    assert there.absent_chance == pytest.approx(0.0, abs=0.02)


def test_pixels_are_labelled_unknown_where_that_is_asked_for(model):
    result = model.segment(half_red(), "red, green", none_of_these="label")
    assert (result.label_map[:, :14] == 0).all()
    assert (result.label_map[:, 18:] == IGNORE_INDEX).mean() > 0.9
    assert model.segment(half_red(), "red, green", none_of_these="off").absent_chance is None


def test_chances_of_absent_words_are_even(model):
    """Of lists that were not fitted on, about as many are below a chance as the chance says."""
    rng = np.random.default_rng(5)
    chances = [
        model.segment(image, [str(word) for word in rng.choice(ABSENT_WORDS, 4, replace=False)]).absent_chance
        for image in photographs(40)
    ]
    assert 0.25 < np.mean(np.array(chances) <= 0.5) < 0.75
    assert np.mean(np.array(chances) <= 0.05) < 0.2


def test_more_words_score_higher_by_chance(model):
    scores = np.full((4, 4), model.absent_scores.image[60], np.float32)
    chances = [model.absent_scores.image_chance(scores, count) for count in (1, COMPETING, 20)]
    assert chances == sorted(chances)
    assert 0 < chances[0] < chances[2] < 1


@pytest.mark.parametrize("changes", [{"short_side": 64}, {"synonyms": "mean"}])
def test_scores_on_another_scale_are_not_judged(model, changes):
    assert model.segment(half_red(), "red, anvil", **changes).absent_chance is None


def test_what_was_not_measured_cannot_be_labelled():
    with pytest.raises(InputError, match="lexiseg calibrate colours --none PHOTOS"):
        ColourSegmenter().segment(half_red(), "red", none_of_these="label")


def test_the_measure_is_kept_and_a_damaged_file_judges_nothing(model, tmp_path):
    path = tmp_path / "a.json"
    model.absent_scores.save(path)
    assert AbsentScores.load(path) == model.absent_scores
    path.write_text(path.read_text()[:-20])
    assert AbsentScores.load(path) is None
    assert AbsentScores.load(tmp_path / "none.json") is None


class Bank(ColourSegmenter):
    """The toy as a bank of references, which has nothing for most words."""

    HAS = ("anvil", "cello", "harp", "yak", "red")

    def check_vocabulary(self, vocabulary):
        if missing := set(vocabulary.names) - set(self.HAS):
            raise VocabularyError(doing="a", found=f"{missing}", expected="c", fix="d")


def test_a_model_that_knows_few_words_is_measured_with_those(model):
    found = fit_absent_scores(Bank(), photographs(), draws=4)
    assert found.num_images == 12
    with pytest.raises(InputError, match="found 3 of 4 words that it can label with"):
        fit_absent_scores(Bank(), photographs(), words=("anvil", "cello", "harp", "loom"))


def test_too_little_to_measure_is_refused(model):
    with pytest.raises(InputError, match="found 1 photographs"):
        fit_absent_scores(model, photographs(1))
    with pytest.raises(InputError, match="found 2 of 2 words"):
        fit_absent_scores(model, photographs(), words=("a", "b"))
    closed = ColourSegmenter()
    closed.vocabulary = model.full_vocabulary("red", model.settings)
    with pytest.raises(InputError, match="fixed list of classes"):
        fit_absent_scores(closed, photographs())
    assert dataclasses.fields(AbsentScores)
