"""Class lists in every usual form: the same classes, or a refusal that says what was seen; never other names."""

import json

import pytest

from lexiseg.core.errors import VocabularyError
from lexiseg.core.vocabulary import Vocabulary, as_lines

THREE = ("cat", "sofa", "traffic light")


def read(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    return Vocabulary.from_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "cat\nsofa\ntraffic light\n",
        "\ufeffcat\r\nsofa\r\ntraffic light\r\n\r\n",
        "0\tcat\n1\tsofa\n2\ttraffic light\n",
        "0 cat\n1 sofa\n2 traffic light\n",
        "0: cat\n1: sofa\n2: traffic light\n",
        "0,cat\n1,sofa\n2,traffic light\n",
        "0;cat\n1;sofa\n2;traffic light\n",
        "0. cat\n1. sofa\n2. traffic light\n",
        "00 cat\n01 sofa\n02 traffic light\n",
        "2 traffic light\n0 cat\n1 sofa\n",
        "cat\t0\nsofa\t1\ntraffic light\t2\n",
        "cat,0\nsofa,1\ntraffic light,2\n",
        "cat: 0\nsofa: 1\ntraffic light: 2\n",
        "id,name\n0,cat\n1,sofa\n2,traffic light\n",
        "name,id\ntraffic light,2\ncat,0\nsofa,1\n",
        "id\tname\n0\tcat\n1\tsofa\n2\ttraffic light\n",
        "index;class\n0;cat\n1;sofa\n2;traffic light\n",
        "class,label\ncat,0\nsofa,1\ntraffic light,2\n",
        '"id","name"\n0,"cat"\n1,"sofa"\n2,"traffic light"\n',
        json.dumps(THREE),
        json.dumps(THREE, indent=1),
        json.dumps(dict(enumerate(THREE))),
        json.dumps({name: index for index, name in enumerate(THREE)}),
        json.dumps({"model_type": "x", "id2label": dict(enumerate(THREE)), "label2id": {}}),
        json.dumps([{"id": index, "name": name} for index, name in reversed(list(enumerate(THREE)))]),
        json.dumps({"images": [], "categories": [{"id": i, "name": n} for i, n in enumerate(THREE)]}),
        json.dumps([{"name": name} for name in THREE]),
        json.dumps({"names": list(THREE)}),
        '"cat"\n"sofa"\n"traffic light"\n',
        "__ignore__\ncat\nsofa\ntraffic light\n",
    ],
)
def test_forms_that_are_certain_are_read(tmp_path, text):
    assert read(tmp_path, text).names == THREE


def test_labelme_begins_with_what_it_ignores_and_its_background(tmp_path):
    found = read(tmp_path, "__ignore__\n_background_\ncat\nsofa\n")
    assert found.names == ("background", "cat", "sofa")
    assert found.background == 0
    assert read(tmp_path, "_background_\ncat\n").names == ("background", "cat")


@pytest.mark.parametrize(
    ("text", "seen", "fix"),
    [
        ("cat, kitten\nsofa\n", "'cat, kitten' in line 1: a comma, and no tab", "follow a tab"),
        ("cat\nsofa, couch\n", "'sofa, couch' in line 2", "double quotes"),
        ("cat, sofa, traffic light\n", "in line 1: a comma", "lines of their own"),
        ("0:cat,kitten\n1:sofa,couch\n", "'cat,kitten' in line 1", "follow a tab"),
        ("1 cat\n2 sofa\n3 lamp\n", "3 classes with the numbers 1, 2, 3", "count from 0"),
        ("0 cat\n5 sofa\n", "2 classes with the numbers 0, 5", "without gaps"),
        ("id,name\n1,cat\n2,sofa\n", "2 classes with the numbers 1, 2", "count from 0"),
        ("id,color,label\n0,red,7\n1,blue,8\n", "a table with the columns id, color, label", "id and name"),
        ('{"1": "cat", "3": "sofa"}', "2 classes with the numbers 1, 3", "count from 0"),
        ('[{"id": 1, "name": "cat"}]', "1 classes with the numbers 1", "count from 0"),
        ('{"a": 1.5}', "JSON with the keys 'a'", '["cat", "sofa"]'),
        ("[1, 2]", "a JSON list of '[1, 2]'", '["cat", "sofa"]'),
        ("name\ncat\nsofa\n", "'name' in line 1, which looks like the header", '"name" in double quotes'),
        ("# my classes\ncat\n", "'# my classes' in line 1", "Leave such lines out"),
        ("names:\n- cat\n- sofa\n", "'names:' in line 1", "one class name a line"),
        ("- cat\n- sofa\n", "'- cat' in line 1", "one class name a line"),
        ("cat\n__ignore__\n", "__ignore__ in line 2", "Put it first"),
        ("cat;kitten\nsofa\n", "2 names separated by something else", "'cat, kitten'"),
        ("cat. sofa. lamp.\n", "3 names separated by something else", "'cat, sofa, lamp'"),
    ],
)
def test_forms_that_could_mean_two_things_are_refused_with_what_was_seen(tmp_path, text, seen, fix):
    with pytest.raises(VocabularyError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"reading the classes file {tmp_path / 'classes.txt'}")
    assert seen in message
    assert fix in message


@pytest.mark.parametrize(
    "names",
    [
        ("salt, pepper", "cat"),
        ("0", "1", "2"),
        ("0 cat", "1 sofa"),
        ("1 dog",),
        ("7 eleven", "7 up"),
        ("name", "id"),
        ("[x]", "{y}"),
        ('a "b"', "# c"),
        ("__ignore__", "cat"),
        ("St. Bernard", "U.S. flag"),
        ("a;b", "c|d"),
        ("cat. sofa.",),
    ],
)
def test_every_vocabulary_survives_its_own_lines(tmp_path, names):
    vocabulary = Vocabulary(names=names, synonyms=tuple((f"{name} too",) for name in names))
    for given in (vocabulary, Vocabulary(names=names)):
        assert read(tmp_path, "\n".join(as_lines(given)) + "\n") == given


@pytest.mark.parametrize(
    "names", [("St. Bernard", "cat"), ("0", "1"), ("7 eleven", "cat"), ("3 musketeers",), ("zero 0", "one 1")]
)
def test_plain_names_stay_what_they_are(tmp_path, names):
    assert read(tmp_path, "\n".join(names)).names == names


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("cat. sofa.", "'cat, sofa'"),
        ("cat . sofa", "'cat, sofa'"),
        ("cat. traffic light. sofa.", "'cat, traffic light, sofa'"),
        ("cat; sofa", "'cat, sofa'"),
        ("cat | sofa", "'cat, sofa'"),
        ("猫，狗", "'猫, 狗'"),
        ("猫、狗", "'猫, 狗'"),
        ("قطة، كلب", "'قطة, كلب'"),
        ("cat; sofa, grass", "'cat, sofa'"),
        ('["cat", "sofa"]', "brackets"),
        ("['cat', 'sofa']", "brackets"),
        ("{'cat', 'sofa'}", "brackets"),
        ("('cat', 'sofa')", "brackets"),
    ],
)
def test_words_on_one_line_are_never_one_class_by_another_separator(words, fix):
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.parse(words)
    assert fix in str(caught.value)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("St. Bernard, cat", ("St. Bernard", "cat")),
        ("St. Bernard", ("St. Bernard",)),
        ("cat.", ("cat.",)),
        ('"cat. sofa."', ("cat. sofa.",)),
        ('"a;b", c', ("a;b", "c")),
        ("(wooden) chair", ("(wooden) chair",)),
        ("vitamin B12, 3D printer", ("vitamin B12", "3D printer")),
    ],
)
def test_words_that_are_right_stay_right(words, names):
    assert Vocabulary.parse(words).names == names
