import numpy as np
import pytest
import torch

from lexiseg.core.errors import InputError, VocabularyError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.inference.closed_vocabulary import ClosedVocabularySegmenter
from lexiseg.inference.settings import InferenceSettings
from toy_segmenter import ColourSegmenter


class ByColumn(ClosedVocabularySegmenter):
    """Cell ``(row, column)`` of the grid shows class ``column``; every class scores a little everywhere."""

    name, stride = "by column", 4

    def __init__(self, *names: str, synonyms=(), background: str = "name") -> None:
        super().__init__()
        self.vocabulary = Vocabulary(names=names, synonyms=synonyms)
        self.settings = InferenceSettings(
            short_side=16, max_long_side=64, background=background, refine="none"
        )
        self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def encode_images(self, images):
        height, width = images.shape[-2] // 4, images.shape[-1] // 4
        scores = 0.2 + 0.7 * torch.eye(len(self.vocabulary))[:width]
        tokens = scores.repeat(height, 1)[None].expand(len(images), -1, -1)
        return PatchFeatures(tokens=tokens, grid=(height, width), stride=4)


IMAGE = np.zeros((16, 16, 3), np.uint8)


def columns(model, words, **changes) -> list[str]:
    found = model.segment(IMAGE, words, **changes)
    return [found.vocabulary.names[label] for label in found.label_map[8, 1::4]]


def test_without_words_it_labels_with_all_its_classes_in_their_order():
    model = ByColumn("cat", "dog", "sky", "sea")
    found = model.segment(IMAGE)
    assert found.vocabulary == model.vocabulary  # no empty background beside them
    assert found.label_map[8, 1::4].tolist() == [0, 1, 2, 3]


def test_what_was_not_asked_for_competes_and_becomes_background():
    model = ByColumn("cat", "dog", "sky", "sea")
    assert columns(model, "dog") == ["background", "dog", "background", "background"]
    assert columns(model, "sea, cat") == ["cat", "background", "background", "sea"]
    assert columns(model, "sea, background, cat") == ["cat", "background", "background", "sea"]
    assert columns(model, "dog", background="none") == ["dog"] * 4
    # The mean over all that is left would lose against any class.
    assert columns(model, "dog", synonyms="mean") == ["background", "dog", "background", "background"]


def test_a_background_of_its_own_goes_to_the_background():
    model = ByColumn("background", "dog", "sky", "sea")
    assert columns(model, "dog") == ["background", "dog", "background", "background"]
    assert columns(model, None) == ["background", "dog", "sky", "sea"]


def test_by_a_threshold_only_what_was_asked_for_competes():
    model = ByColumn("cat", "dog", "sky", "sea")
    assert columns(model, "dog", background="threshold", threshold=0.5) == [
        "background",
        "dog",
        "background",
        "background",
    ]


def test_the_record_has_the_vocabulary_of_the_result():
    model = ByColumn("cat", "dog", "sky", "sea")
    for words in ("dog", "cat, dog, sky, sea", "dog, background, sky"):
        found = model.segment(IMAGE, words).vocabulary.to_json()
        assert found.items() <= model.describe(words).items()


def test_names_are_its_own_or_a_synonym_and_every_class_comes_once():
    model = ByColumn("cat", "dog", "sky", "sea", synonyms=(("kitten", "pussy"), (), (), ()))
    assert columns(model, "kitten", background="none") == ["kitten"] * 4
    assert columns(model, {"pet": ["dog"]})[:2] == ["background", "pet"]
    with pytest.raises(VocabularyError, match="the class 'horse', which it was not trained with"):
        model.segment(IMAGE, "horse")
    with pytest.raises(VocabularyError, match="'cat' and 'kitten', which are both its class 'cat'"):
        model.segment(IMAGE, "cat, kitten")


def test_a_model_of_any_words_wants_some():
    with pytest.raises(InputError, match="no words"):
        ColourSegmenter().segment(IMAGE)
