import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.models.text_tokens import load_tokenizer, pad, special_token_id, tokenize, without_punctuation
from tiny_checkpoints import write_json


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


#: tokenizer_config.json, special_tokens_map.json (None: absent), and the pad token of them, as transformers has it.
PAD_TOKENS = {
    "one file": ({"pad_token": "a"}, None, "a"),
    "both, old": ({"pad_token": "a"}, {"pad_token": "b"}, "b"),
    "both, old, with rules": ({"pad_token": "a"}, {"pad_token": {"content": "b", "lstrip": False}}, "b"),
    "both, new": ({"pad_token": "a", "added_tokens_decoder": {}}, {"pad_token": "b"}, "a"),
    "only the other": ({}, {"pad_token": "b"}, "b"),
    "another role there": ({"pad_token": "a"}, {"eos_token": "b"}, "a"),
}


@pytest.mark.parametrize("kind", PAD_TOKENS)
def test_the_pad_token_is_that_of_the_file_that_transformers_believes(kind, tmp_path):
    config, special, expected = PAD_TOKENS[kind]
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    write_json(tmp_path / "tokenizer_config.json", config)
    if special is not None:
        write_json(tmp_path / "special_tokens_map.json", special)
    assert special_token_id(tmp_path, tokenizer, "pad_token") == tokenizer.token_to_id(expected)


def test_a_token_that_the_vocabulary_lacks_is_said_with_its_file(tmp_path):
    write_json(tmp_path / "tokenizer_config.json", {})
    write_json(tmp_path / "special_tokens_map.json", {"pad_token": "c"})
    with pytest.raises(
        CheckpointError, match=r"special_tokens_map.json: found pad_token 'c', which tokenizer.json"
    ):
        special_token_id(tmp_path, Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), "pad_token")
