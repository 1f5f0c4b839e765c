import json

import pytest
import torch

from lexiseg.core.errors import CheckpointError
from lexiseg.models.bert import BERT_BASE, Bert, BertShape, WordPieceTokenizer, WordTokenizer

SHAPE = BertShape(width=24, depth=2, num_heads=3, max_tokens=8, drop_rate=0.0)
WORDS = ["a photo of", "cat", "dog", "Hot Dog"]


@pytest.fixture
def network() -> Bert:
    torch.manual_seed(0)
    return Bert(WordTokenizer(WORDS), SHAPE).eval()


def pieces_file(folder, tokens=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "dog")):
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    made = Tokenizer(WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    made.add_special_tokens([token for token in tokens if token.startswith("[")])
    if "[SEP]" in tokens:
        made.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[("[CLS]", tokens.index("[CLS]")), ("[SEP]", tokens.index("[SEP]"))],
        )
    made.enable_truncation(3)
    made.enable_padding(length=6)
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_words_become_tokens_between_start_and_end():
    tokenizer = WordTokenizer(WORDS)
    words = list(tokenizer.vocabulary)
    (row,) = tokenizer.ids(["A photo of a DOG."], 10)
    assert [words[index] for index in row] == ["[CLS]", "a", "photo", "of", "a", "dog", "[SEP]"]


def test_unknown_words_are_unknown_and_the_mask_is_the_mask():
    tokenizer = WordTokenizer(WORDS)
    words = list(tokenizer.vocabulary)
    (row,) = tokenizer.ids(["[MASK] zebra cat"], 10)
    assert [words[index] for index in row] == ["[CLS]", "[MASK]", "[UNK]", "cat", "[SEP]"]


def test_long_sentences_are_cut_and_keep_their_end():
    tokenizer = WordTokenizer(WORDS)
    (row,) = tokenizer.ids(["cat " * 30], 8)
    assert len(row) == 8
    assert row[-1] == tokenizer.vocabulary["[SEP]"]


def test_the_order_of_the_word_list_does_not_matter():
    assert WordTokenizer(WORDS).identity == WordTokenizer(WORDS[::-1]).identity
    assert WordTokenizer(WORDS).identity != WordTokenizer(WORDS[1:]).identity


def test_pieces_are_read_from_a_file_and_its_own_cutting_is_off(tmp_path):
    tokenizer = WordPieceTokenizer(pieces_file(tmp_path))
    assert tokenizer.num_tokens == 8
    assert tokenizer.ids(["Cats dog", "[MASK] cat", "dog " * 9], 6) == [
        [2, 5, 6, 7, 3],
        [2, 4, 5, 3],
        [2, 7, 7, 7, 7, 3],
    ]


def test_a_tokenizer_without_its_special_tokens_is_refused_with_their_names(tmp_path):
    path = pieces_file(tmp_path, ("[PAD]", "[UNK]", "[CLS]", "cat"))
    with pytest.raises(CheckpointError, match=r"found no token \[SEP\], \[MASK\]; expected tokenizer\.json"):
        WordPieceTokenizer(path)


@pytest.mark.parametrize("content", ["", "{", json.dumps({"model": {}})])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="reading the tokenizer"):
        WordPieceTokenizer(tmp_path / "tokenizer.json")


def test_the_pieces_that_come_through_pip_are_bert_uncased():
    from lexiseg.models.minilm import TOKENIZER

    if TOKENIZER.state() != "intact":
        pytest.skip("the package with the pieces is not installed")
    tokenizer = WordPieceTokenizer(TOKENIZER.verified_path())
    assert tokenizer.num_tokens == 30522
    assert tokenizer.ids(["A photo of [MASK]."], 25) == [[101, 1037, 6302, 1997, 103, 1012, 102]]


def test_base_is_as_large_as_published():
    class ManyTokens(WordTokenizer):
        def __init__(self) -> None:
            super().__init__([])
            self.num_tokens = 30522

    with torch.device("meta"):
        network = Bert(ManyTokens(), BERT_BASE)
    # BERT-base has 109.5 million with 512 positions, two sentence types and its pooler; ours has 25 and none.
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(108.5, abs=0.1)


def test_it_equals_transformers_bert_weight_by_weight(network):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=network.tokenizer.num_tokens, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=96, max_position_embeddings=8, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, type_vocab_size=1,
    )  # fmt: skip
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    ours = network.state_dict()
    given = {
        "embeddings.word_embeddings.weight": ours["token_embedding.weight"],
        "embeddings.position_embeddings.weight": ours["positions"],
        "embeddings.token_type_embeddings.weight": torch.zeros(1, 24),
        "embeddings.LayerNorm.weight": ours["norm.weight"],
        "embeddings.LayerNorm.bias": ours["norm.bias"],
    }
    names = {
        "attention.output.dense": "attention_out",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "feed_forward_in",
        "output.dense": "feed_forward_out",
        "output.LayerNorm": "feed_forward_norm",
    }
    for block in range(2):
        for kind in ("weight", "bias"):
            merged = ours[f"blocks.{block}.query_key_value.{kind}"].chunk(3)
            for part, value in zip(("query", "key", "value"), merged, strict=True):
                given[f"encoder.layer.{block}.attention.self.{part}.{kind}"] = value
            for there, here in names.items():
                given[f"encoder.layer.{block}.{there}.{kind}"] = ours[f"blocks.{block}.{here}.{kind}"]
    theirs.load_state_dict(given, strict=True)
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 6, 3, 0, 0]])
    attention_mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    with torch.inference_mode():
        wanted = theirs(input_ids=ids, attention_mask=attention_mask.long()).last_hidden_state
        torch.testing.assert_close(network.encode(ids, attention_mask), wanted, atol=2e-5, rtol=1e-4)


def test_a_sentence_does_not_see_its_filling_but_the_filling_sees_the_sentence(network):
    short, attention_mask = network(["cat"], pad_to_max_length=False)
    long, attention_mask_long = network(["cat"], pad_to_max_length=True)
    assert long.shape == (1, 8, 24)
    assert attention_mask_long.sum() == attention_mask.sum() == 3
    torch.testing.assert_close(long[:, :3], short)
    other, _ = network(["dog"], pad_to_max_length=True)
    assert not torch.allclose(long[:, 3:], other[:, 3:])


def test_dropout_is_for_training_only():
    network = Bert(
        WordTokenizer(WORDS), BertShape(width=24, depth=1, num_heads=3, max_tokens=8, drop_rate=0.5)
    )
    once, again = (network(["cat dog"], pad_to_max_length=False)[0] for _ in range(2))
    assert not torch.equal(once, again)
    network.eval()
    once, again = (network(["cat dog"], pad_to_max_length=False)[0] for _ in range(2))
    assert torch.equal(once, again)
