"""P11 of GroupViT: which words of a caption are asked for, and in which sentences."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest

from lexiseg.core.errors import InputError, MissingPackageError
from lexiseg.data.captions.word_prompts import (
    NltkTagger,
    WordListTagger,
    WordPrompts,
    nltk_is_ready,
    prompted,
)
from lexiseg.ops.prompts import fill, find_prompt_set

TEMPLATES = find_prompt_set("imagenet80")


def texts(words, caption="a caption", seed=0, count=3):
    return prompted(words, caption, np.random.default_rng(seed), count=count, prompts="imagenet80")


@pytest.mark.parametrize(
    ("words", "captions"), [([], 3), (["cat"], 2), (["cat", "dog"], 1), (list("abcd"), 0)]
)
def test_the_caption_fills_the_places_without_a_word_p11(words, captions):
    for seed in range(20):
        found = texts(words, seed=seed)
        assert len(found) == 3
        assert found.count("a caption") == captions
        assert found[3 - captions :] == ("a caption",) * captions
        for text in found[: 3 - captions]:
            assert any(text in fill(TEMPLATES, word) for word in words), text


def test_more_words_than_places_are_drawn_without_replacement_and_all_alike_p11():
    words = ["apple", "bench", "candle", "door", "engine"]
    counts: Counter[str] = Counter()
    for seed in range(2000):
        drawn = [next(word for word in words if word in text) for text in texts(words, seed=seed)]
        assert len(set(drawn)) == 3
        counts.update(drawn)
    assert all(abs(counts[word] / 2000 - 0.6) < 0.05 for word in words)


def test_a_word_that_comes_twice_can_be_drawn_twice_p11():
    assert any(
        sum("cat" in text for text in texts(["cat", "dog", "cat"], seed=seed)) == 2 for seed in range(3)
    )


def test_templates_are_drawn_for_every_word_on_its_own():
    found = {text for seed in range(1000) for text in texts(["cat"], seed=seed) if text != "a caption"}
    assert found == set(fill(TEMPLATES, "cat"))


def test_the_longest_phrases_of_the_list_are_found_in_order():
    tagger = WordListTagger({"car", "Race Car", "road", "dirt road", "T-shirt"})
    assert tagger.words("A red race car on dirt roads; a car, a t-shirt, a ROAD") == [
        "race car",
        "dirt roads",
        "car",
        "t-shirt",
        "road",
    ]
    assert tagger.words("nothing here") == []
    assert tagger.words("") == []


def test_a_phrase_of_five_words_is_never_found():
    assert WordListTagger({"one two three four five", "six"}).words("one two three four five six") == ["six"]


def test_an_empty_list_is_refused():
    with pytest.raises(InputError, match="found an empty list of words"):
        WordListTagger([" "])


def test_word_prompts_are_a_function_of_the_random_numbers_and_cross_process_borders():
    make = WordPrompts(tagger=WordListTagger({"cat", "dog", "tree"}))
    again = pickle.loads(pickle.dumps(make))
    caption = "a cat and a dog"
    first, second = (one("", caption, np.random.default_rng(3)) for one in (make, again))
    assert first == second
    assert first[2] == caption
    assert repr(again) == repr(make)
    assert repr(make) != repr(WordPrompts(tagger=WordListTagger({"cat", "dog"})))


@pytest.fixture
def tiny_nltk(tmp_path, monkeypatch):
    """The data of NLTK's tagger as it is stored, with five words that it knows."""
    nltk = pytest.importorskip("nltk", reason="nltk is not installed")
    known = {"dog": "NN", "cats": "NNS", "Rome": "NNP", "runs": "VBZ", "big": "JJ"}
    folder = tmp_path / "taggers" / "averaged_perceptron_tagger_eng"
    folder.mkdir(parents=True)
    parts = {"weights": {}, "tagdict": known, "classes": sorted(set(known.values()))}
    for name, content in parts.items():
        (folder / f"averaged_perceptron_tagger_eng.{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [("nouns", ["dog", "cats", "Rome"]), ("nouns_and_verbs", ["dog", "runs", "cats", "Rome"])],
)
def test_words_are_chosen_by_their_tags(tiny_nltk, tags, wanted):
    assert nltk_is_ready()
    tagger = NltkTagger(tags)
    assert tagger.words("big dog runs big cats Rome") == wanted
    assert tagger.describe().endswith(tags)


def test_without_nltk_or_its_data_the_tagger_says_what_to_install(monkeypatch):
    monkeypatch.setattr("lexiseg.data.captions.word_prompts.nltk_is_ready", lambda: False)
    with pytest.raises(MissingPackageError, match="no NLTK with the data of its tagger") as caught:
        NltkTagger()
    assert "pip install nltk && python -m nltk.downloader averaged_perceptron_tagger_eng" in str(caught.value)
