"""Words as people write them."""

import pytest

from lexiseg.core.errors import VocabularyError
from lexiseg.core.vocabulary import Vocabulary, as_lines
from lexiseg.data.class_lists import packaged_names, packaged_vocabulary


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("cat, grass , sky", ("cat", "grass", "sky")),
        ('"salt, pepper", cat', ("salt, pepper", "cat")),
        ("tv/monitor, rock 'n' roll", ("tv/monitor", "rock 'n' roll")),
        ("🐈, naïve café", ("🐈", "naïve café")),
        ("cat", ("cat",)),
        (["a, b", "bed "], ("a, b", "bed")),
        (("dining   table",), ("dining table",)),
        ('"a" , "the ""tom""", rock "n" roll', ("a", 'the "tom"', 'rock "n" roll')),
        (
            f"{'cat, ' * 40_000}dog".replace("cat", "c{}").format(*range(40_000)),
            (*(f"c{n}" for n in range(40_000)), "dog"),
        ),
    ],
)
def test_words_are_read_as_written(words, names):
    assert Vocabulary.parse(words).names == names


def test_mapping_gives_synonyms():
    vocabulary = Vocabulary.parse({"cat": ["kitty", "tabby"], "sky": []})
    assert vocabulary.all_names() == (("cat", "kitty", "tabby"), ("sky",))


def test_synonyms_may_be_one_string_with_commas():
    vocabulary = Vocabulary.parse({"cat": "kitten", "pot": 'flowerpot, "salt, pepper"', "sky": ""})
    assert vocabulary.synonyms == (("kitten",), ("flowerpot", "salt, pepper"), ())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"cat", "dog"}, "words given as a set: "),
        (None, "words given as a NoneType: 'None'"),
        (b"cat", "words given as a bytes: \"b'cat'\""),
        ([b"cat"], "\"b'cat'\", a bytes, for class 0"),
        (["cat", 3], "'3', a int, for class 1"),
        ({"cat": {"kitten"}}, "the synonyms of 'cat' given as a set: \"{'kitten'}\""),
        ({"cat": [None]}, "'None', a NoneType, for a synonym of 'cat'"),
        ({"cat": 3}, "the synonyms of 'cat' given as a int: '3'"),
        ({3: ["cat"]}, "labels '3'; expected every label from 0 to 0 once"),
        ({0: "cat", 2: "dog"}, "labels '0, 2'; expected every label from 0 to 1 once"),
        ({"1": "cat", "2": "dog"}, "labels '1, 2'; expected"),
        ({0: 3}, "'3', a int, for class 0"),
        ({0: ["cat", "kitten"]}, "a list, for class 0"),
    ],
)
@pytest.mark.usefixtures("without_type_checker")
def test_what_is_no_list_of_strings_is_refused(given, found):
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.parse(given)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (
            {"names": "cat"},
            "names given as a str: 'cat'; expected a list or tuple of strings, in label order",
        ),
        ({"names": ("cat",), "synonyms": ("kitten",)}, "the synonyms of 'cat' given as a str: 'kitten'"),
        ({"names": ("a", "b"), "synonyms": (("c",),)}, "synonyms of 1 classes for 2 names"),
        (
            {"names": ("a", "b"), "background": 7},
            "background = 7 among 2 names; expected a label from 0 to 1",
        ),
        ({"names": ("a", "b"), "background": -1}, "background = -1 among 2 names"),
        ({"names": ("a", "b"), "background": "a"}, "background = 'a' among 2 names"),
        ({"names": ("a", "b"), "seen": frozenset({1, 2})}, "seen = 2 among 2 names"),
    ],
)
@pytest.mark.usefixtures("without_type_checker")
def test_fields_that_do_not_fit_each_other_are_refused(fields, found):
    with pytest.raises(VocabularyError) as caught:
        Vocabulary(**fields)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    "words", [{"toilet": ["Stool "], "stool": []}, {"stool": [], "toilet": "pot, stool"}]
)
def test_a_synonym_that_is_another_classs_name_is_refused(words):
    with pytest.raises(VocabularyError, match=r"as a synonym of 'toilet' and as class \d; .*can never win"):
        Vocabulary.parse(words)


def test_a_shared_synonym_is_fine_and_so_are_words_of_background_that_are_classes():
    assert len(Vocabulary.parse({"earth": ["ground"], "land": ["ground"]})) == 2
    vocabulary = Vocabulary.parse({"background": "sky, bed", "bed": []})
    assert vocabulary.synonyms[0] == ("sky", "bed")
    assert vocabulary.index("bed") == 1


def test_in_a_classes_file_a_word_means_the_class_of_that_name(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("toilet\tpot, Stool, can\nstool\tseat\npot\tflowerpot, pot\n")
    assert Vocabulary.from_file(path).synonyms == (("can",), ("seat",), ("flowerpot", "pot"))


@pytest.mark.parametrize("name", packaged_names())
def test_every_class_of_the_packaged_lists_can_win(name):
    vocabulary = packaged_vocabulary(name)
    for label, own in enumerate(vocabulary.names):
        others = [names for other, names in enumerate(vocabulary.all_names()) if other != label]
        assert all(own not in names for names in others)


def test_background_is_recognised_by_its_name():
    assert Vocabulary.parse("cat, Background").background == 1
    assert Vocabulary.parse("cat").background is None


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", ["no class name at all", "--words"]),
        ([], ["no class name at all"]),
        ("cat,, sky", ["an empty name (class 1)", "stray comma"]),
        ("cat, dog, CAT ", ["'CAT' as class 2, which is already class 0 ('cat')", "Remove one"]),
        (["dining table", "dining  Table"], ["already class 0"]),
        (["cat\ndog"], ["a line break", "'cat\\ndog'", "its own list entry"]),
        ("cat\ndog", ["2 lines", "--classes-file"]),
        (["cat\tkitty"], ["tab"]),
        (["x" * 10_000], ["a name of 10,000 characters (class 0)", "at most 200"]),
        ('sky, "cat, dog', ["a quotation that does not close: '\"cat, dog'", "Close it"]),
        ('"a" b, c', ["'b' after the quotation '\"a\"'", "a comma between the two names"]),
        ("a\rb", ["2 lines", "--classes-file"]),
        ("x" * 200_000, ["a name of 200,000 characters (class 0)"]),
        (["cat", "   "], ["an empty name (class 1)"]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_unusable_words_are_named(words, parts):
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.parse(words)
    for part in parts:
        assert part in str(caught.value)


def test_more_classes_than_labels_are_refused():
    with pytest.raises(VocabularyError, match=r"65536 names.*at most 65535"):
        Vocabulary.parse([str(index) for index in range(65_536)])


def test_classes_file_and_lines_are_inverse(tmp_path):
    vocabulary = Vocabulary.parse({"cat": ["kitty", "a, b", 'the "tom"'], "sky": []})
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(as_lines(vocabulary)), encoding="utf-8")
    assert Vocabulary.from_file(path) == vocabulary


def test_classes_file_may_start_with_a_byte_order_mark_and_end_with_blank_lines(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("cat\r\nsky\r\n\r\n".encode("utf-8-sig"))
    assert Vocabulary.from_file(path).names == ("cat", "sky")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"cat\n\nsky\n", "an empty name (class 1)"),
        (b"cat\nsky\ncat\n", "already class 0"),
        (b"cat\x0cdog\nsky\n", r"control character in class 0: 'cat\x0cdog'"),
        ("cat\u2028dog\nsky\n".encode(), r"a line break, tab or control character in class 0"),
        (b'cat\t"kitten\nsky\n', "a quotation that does not close"),
        (b"\xff\xfe\x00", "UTF-8"),
        (None, "No such file"),
        (b"", "no class name at all"),
    ],
)
def test_bad_classes_file_is_named(tmp_path, content, part):
    path = tmp_path / "classes.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.from_file(path)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)


def test_index_finds_names_and_synonyms():
    vocabulary = Vocabulary.parse({"cat": ["kitty"], "sky": []})
    assert (vocabulary.index("KITTY"), vocabulary.index("Sky")) == (0, 1)
    with pytest.raises(VocabularyError, match="one of 2 names: cat, sky"):
        vocabulary.index("dog")
