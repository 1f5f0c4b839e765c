import gzip
from importlib.resources import files

import pytest

from curation_toys import write_words
from lexiseg.core.errors import VocabularyError
from lexiseg.data.curation.concept_vocabulary import ConceptVocabulary, load_concepts, plural, words_of


def vocabulary(*concepts):
    return ConceptVocabulary(name="test", concepts=concepts)


def found(concepts, *captions):
    known = vocabulary(*concepts)
    return [known.concepts[number] for number in known.find(captions)]


RACE = ("race car", "car", "road", "dirt road")


@pytest.mark.parametrize(
    ("concepts", "caption", "expected"),
    [
        (RACE, "a red race car on dirt road", {"car", "race car", "road", "dirt road"}),
        (RACE, "A Red RACE CAR on dirt road.", {"car", "race car", "road", "dirt road"}),
        (RACE, "race\ncar; dirt\r\nroad", {"car", "race car", "road", "dirt road"}),
        (RACE, "car car car", {"car"}),
        (RACE, "cartoon racecar", set()),
        (("cat",), "cattle and a scat", set()),
        (("hen of the woods",), "a hen of the woods", {"hen of the woods"}),
        (("the very long green garden hose",), "the very long green garden hose", set()),
        (("carpenter's kit", "jack-o'-lantern"), "carpenter’s kit, a jack-o'-lantern", {"carpenter's kit", "jack-o'-lantern"}),
        (("straße", "größe"), "die STRASSE", set()),
        (("hund",), "ein HUND läuft", {"hund"}),
        (("dog",), "", set()),
        (("dog",), "… ! 🐕", set()),
    ],
)  # fmt: skip
def test_grams_of_one_to_four_words_are_found(concepts, caption, expected):
    assert set(found(concepts, caption)) == expected


def test_several_captions_are_one_list_without_repetition():
    assert found(RACE, "a car", "a road", "the car") == ["car", "road"]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"), ("bus", "buses"), ("fox", "foxes"), ("beach", "beaches"), ("berry", "berries"),
        ("toy", "toys"), ("fire hydrant", "fire hydrants"), ("policeman", "policemen"), ("human", "humans"),
        ("ottoman", "ottomans"), ("person", "people"), ("wine glass", "wine glasses"), ("sheep", "sheep"),
    ],
)  # fmt: skip
def test_plurals_of_the_last_word(one, many):
    assert plural(one) == many


def test_a_file_is_read_lower_case_with_plurals_and_without_repetition(tmp_path):
    words = write_words(tmp_path, ["# a comment", "Dog", "dog", "  Race Car ", "", "a b c d e"])
    known = load_concepts(words)
    assert known.concepts == ("dog", "race car", "dogs", "race cars")
    assert known.too_long == ("a b c d e",)
    assert load_concepts(words, plurals=False).concepts == ("dog", "race car")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no concept of one to 4 words in 0 lines"),
        (b"one two three four five\n", "no concept of one to 4 words in 1 lines"),
        (b"dog\n\xff\xfe\n", "a byte that is not UTF-8 at 4"),
    ],
)
def test_a_file_without_use_is_refused(tmp_path, content, found):
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(VocabularyError, match=found) as error:
        load_concepts(tmp_path / "words.txt")
    assert "words.txt" in str(error.value)


def test_a_missing_file_names_the_lists_that_come_along(tmp_path):
    with pytest.raises(VocabularyError, match=r"no-file\.txt.*one of nouns, wordnet"):
        load_concepts(tmp_path / "no-file.txt")


def test_the_packaged_nouns_are_small_decent_and_without_words_of_grammar():
    data = files("lexiseg.data").joinpath("concept_lists", "wordnet_nouns.txt.gz").read_bytes()
    assert len(data) < 1_000_000
    lines = gzip.decompress(data).decode().splitlines()
    assert "Princeton University" in lines[0]
    nouns = set(lines[1:])
    assert nouns >= {"person", "dog", "grass", "sky", "race car", "building", "snow", "kuvasz"}
    assert not nouns & {"the", "photo", "will", "his", "afternoon", "idea", "slut", "wop"}
    assert all(1 <= len(words_of(noun)) <= 4 for noun in nouns)


@pytest.mark.exhaustive
def test_the_leak_of_class_names_is_counted():
    with_lists, without = load_concepts("nouns").leak(), load_concepts("wordnet").leak()
    assert with_lists["voc20"] == (20, 20)
    assert with_lists["ade20k150"] == (150, 150)
    assert without["voc20"][1] == 20
    assert 10 < without["voc20"][0] < 20
    assert vocabulary("dog", "couch").leak()["coco_object80"] == (2, 80)
    assert vocabulary("xyz").leak()["imagenet1k"] == (0, 1000)


def test_the_fingerprint_is_of_the_concepts():
    assert vocabulary("a", "b").fingerprint() == vocabulary("a", "b").fingerprint()
    assert vocabulary("a", "b").fingerprint() != vocabulary("b", "a").fingerprint()
