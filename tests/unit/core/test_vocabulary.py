"""Words as people write them."""

import pytest

from lexiseg.core.errors import VocabularyError
from lexiseg.core.vocabulary import Vocabulary, as_lines


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
    ],
)
def test_words_are_read_as_written(words, names):
    assert Vocabulary.parse(words).names == names


def test_mapping_gives_synonyms():
    vocabulary = Vocabulary.parse({"cat": ["kitty", "tabby"], "sky": []})
    assert vocabulary.all_names() == (("cat", "kitty", "tabby"), ("sky",))


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
        ('"cat, dog', ["a quotation that does not close"]),
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
