import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.models.text_tokens import load_tokenizer, pad, tokenize, without_punctuation


def words_only() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "cat": 1, "dog": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def test_truncation_and_padding_kept_in_the_file_are_switched_off(tmp_path):
    tokenizer = words_only()
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert tokenize(load_tokenizer(tmp_path), ["cat dog", "dog"], max_tokens=2) == [[1, 2], [2]]
    with pytest.raises(VocabularyError, match="found 3 tokens; expected at most 2"):
        tokenize(load_tokenizer(tmp_path), ["cat dog cat"], max_tokens=2)


def test_the_end_is_appended_only_where_it_is_absent():
    assert tokenize(words_only(), ["cat", "cat dog", ""], max_tokens=2, close_with=2) == [[1, 2], [1, 2], [2]]
    with pytest.raises(VocabularyError, match="found 3 tokens"):
        tokenize(words_only(), ["cat cat"], max_tokens=2, close_with=2)


def test_padding_is_on_the_right():
    assert torch.equal(pad([[1], [2, 3]], pad_id=7, length=3), torch.tensor([[1, 7, 7], [2, 3, 7]]))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A photo of a Cat.", "a photo of a cat"),
        ("tv/monitor", "tvmonitor"),
        ("  two\t spaces ", "two spaces"),
        ("it's {}!", "its"),
        ("«été» 🐱", "«été» 🐱"),
    ],
)
def test_punctuation_and_capitals_go_as_in_training(text, cleaned):
    assert without_punctuation(text) == cleaned


@pytest.mark.parametrize("content", [None, "", "{", "{}"])
def test_a_missing_or_broken_tokenizer_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value).startswith(f"reading {tmp_path / 'tokenizer.json'}: found ")
    assert "spiece.model alone is not enough" in str(caught.value)
