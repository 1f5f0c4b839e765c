"""A BERT text encoder, trained from scratch, and the two ways from a sentence to its tokens.

Devlin et al., "BERT", NAACL 2019: post-norm blocks, learned positions, exact GELU, dropout 0.1. Written on
our own blocks because transformers' classes take seconds to import; the test compares it with transformers'
``BertModel``, weight by weight.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import dropout

from lexiseg.core.errors import CheckpointError
from lexiseg.core.setting_ranges import DEPTH, SHARE, SPREAD, WIDTH, Range, check_divides, check_ranges
from lexiseg.layers.transformer_block import TransformerBlock, initialise_linear
from lexiseg.models.checkpoint import build_model, read_config, transformers_class
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import (
    CaptionTokenizer,
    TokenEncoder,
    encode_texts,
    pad_rows,
    read_tokenizer_file,
)

PAD, UNKNOWN, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, CLS, SEP, MASK)

_WORD = re.compile(r"\[MASK\]|\w+|[^\w\s]")


_RANGES = {
    **dict.fromkeys(("width", "num_heads"), WIDTH),
    "depth": DEPTH,
    "max_tokens": Range(least=3, most=16_384),
    "drop_rate": SHARE,
    "init_std": SPREAD,
}


@dataclass(frozen=True, kw_only=True)
class BertShape:
    """Size of a text transformer.

    Attributes:
        width: Channels of a token.
        depth: Number of transformer blocks.
        num_heads: Number of attention heads; divides ``width``.
        max_tokens: Tokens of a sentence at most, CLS and SEP token included; longer sentences are cut.
        drop_rate: Dropout rate while training, in [0, 1).
        init_std: Standard deviation of the initial weights; narrow networks learn faster with more than 0.02.
    """

    width: int = 768
    depth: int = 12
    num_heads: int = 12
    max_tokens: int = 25
    drop_rate: float = 0.1
    init_std: float = 0.02

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the text transformer")
        check_divides(self, "width", "num_heads", method="the text transformer")


BERT_BASE = BertShape()


class WordTokenizer(CaptionTokenizer):
    """One token a word of a closed list, for small synthetic worlds; other words are unknown.

    Args:
        words: Any order, repeats and case ignored. Punctuation that matters must be listed too; the rest is
            dropped.
    """

    def __init__(self, words: Iterable[str]) -> None:
        known = sorted({part for word in words for part in _split(word)} - set(SPECIAL_TOKENS))
        self.vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *known))}
        self.num_tokens = len(self.vocabulary)
        self.pad_id = self.vocabulary[PAD]
        self.unknown_id: int = self.vocabulary[UNKNOWN]
        self.identity = "\n".join(self.vocabulary)

    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return the token ids of each sentence; unknown words get the unknown token, unknown punctuation none."""
        look_up, unknown = self.vocabulary.get, self.unknown_id
        cls, sep = self.vocabulary[CLS], self.vocabulary[SEP]
        rows = []
        for text in texts:
            found = [
                look_up(word, unknown) for word in _split(text) if word in self.vocabulary or word.isalnum()
            ]
            rows.append([cls, *found[: max_tokens - 2], sep])
        return rows

    def piece(self, index: int) -> str:
        """Return how a token is written."""
        return list(self.vocabulary)[index]


class WordPieceTokenizer(CaptionTokenizer):
    """BERT's WordPiece tokens, from a ``tokenizer.json`` that has its special tokens.

    Args:
        source: The file, or what it holds; padding and truncation stored in it are switched off.

    Raises:
        CheckpointError: It cannot be read, or a special token is missing.
    """

    def __init__(self, source: Path | Tokenizer) -> None:
        path = source if isinstance(source, Path) else "of a run"
        try:
            self._tokenizer = read_tokenizer_file(source) if isinstance(source, Path) else source
        except Exception as error:  # tokenizers raises bare Exception
            raise _unusable(path, str(error)) from error
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        if missing := [token for token in SPECIAL_TOKENS if token not in vocabulary]:
            raise _unusable(path, f"no token {', '.join(missing)}")
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.num_tokens = len(vocabulary)
        self.pad_id = vocabulary[PAD]
        self.unknown_id: int = vocabulary[UNKNOWN]
        self._sep = vocabulary[SEP]
        self.identity = self._tokenizer.to_str()

    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return the token ids of each sentence; the mask token may be written out in it."""
        rows = (encoding.ids for encoding in encode_texts(self._tokenizer, texts))
        return [row if len(row) <= max_tokens else [*row[: max_tokens - 1], self._sep] for row in rows]

    def piece(self, index: int) -> str:
        """Return how a token is written."""
        return self._tokenizer.id_to_token(index) or str(index)


class Bert(TokenEncoder):
    """Sentences to one vector a token.

    Args:
        tokenizer: Sets the size of the embedding table.
        shape: How large the network is; 109 million parameters for BERT-base with its 30,522 tokens.
    """

    def __init__(self, tokenizer: CaptionTokenizer, shape: BertShape = BERT_BASE) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.shape = shape
        self.width = shape.width
        self.token_embedding = nn.Embedding(tokenizer.num_tokens, shape.width)
        self.positions = nn.Parameter(torch.zeros(shape.max_tokens, shape.width))
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                shape.width, shape.num_heads, norm_first=False, norm_eps=1e-12, drop_rate=shape.drop_rate
            )
            for _ in range(shape.depth)
        )
        initialise_linear(self, shape.init_std)
        for table in (self.token_embedding.weight, self.positions):
            nn.init.normal_(table, std=0.02)

    def forward(
        self, texts: Sequence[str], *, pad_to_max_length: bool
    ) -> tuple[Float[Tensor, "T L D"], Bool[Tensor, "T L"]]:
        """Encode sentences, cut to ``max_tokens``; see ``TokenEncoder``. Padding tokens attend to the sentence."""
        rows = self.tokenizer.ids(texts, self.shape.max_tokens)
        length = self.shape.max_tokens if pad_to_max_length else max(map(len, rows))
        ids, attention_mask = pad_rows(rows, self.tokenizer.pad_id, length)
        device = self.positions.device
        ids, attention_mask = ids.to(device), attention_mask.to(device)
        return self.encode(ids, attention_mask), attention_mask

    def encode(
        self, ids: Int64[Tensor, "T L"], attention_mask: Bool[Tensor, "T L"]
    ) -> Float[Tensor, "T L D"]:
        """Encode token ids; nothing attends to tokens where ``attention_mask`` is False."""
        tokens = self.norm(self.token_embedding(ids) + self.positions[: ids.shape[1]])
        tokens = dropout(tokens, self.shape.drop_rate, self.training)
        seen = attention_mask[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, seen)
        return tokens

    def load_published(self, state: Mapping[str, Tensor], source: Path) -> None:
        """Copy the tensors of a published BERT, such as all-MiniLM-L6-v2, as the hub's files name them.

        The type of a first sentence is added to the positions, of which the first ``max_tokens`` are taken.

        Raises:
            CheckpointError: A tensor is missing or of another shape.
        """
        state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
        try:
            positions = state["embeddings.position_embeddings.weight"]
            kinds = state["embeddings.token_type_embeddings.weight"]
            given = {
                "token_embedding.weight": state["embeddings.word_embeddings.weight"],
                "positions": positions[: self.shape.max_tokens] + kinds[0],
                "norm.weight": state["embeddings.LayerNorm.weight"],
                "norm.bias": state["embeddings.LayerNorm.bias"],
            }
            for block in range(self.shape.depth):
                there, here = f"encoder.layer.{block}", f"blocks.{block}"
                for kind in ("weight", "bias"):
                    parts = [
                        state[f"{there}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")
                    ]
                    given[f"{here}.query_key_value.{kind}"] = torch.cat(parts)
                    for published, ours in _PUBLISHED.items():
                        given[f"{here}.{ours}.{kind}"] = state[f"{there}.{published}.{kind}"]
            self.load_state_dict(given)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                doing=f"loading a text encoder from {source}",
                found=f"no tensor {error}" if isinstance(error, KeyError) else str(error)[:300],
                expected=f"a BERT of width {self.width} with {self.shape.depth} blocks",
                fix="Take the checkpoint of a BERT, complete.",
            ) from error


#: What the hub's files call the parts of a block.
_PUBLISHED = {
    "attention.output.dense": "attention_out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_forward_in",
    "output.dense": "feed_forward_out",
    "output.LayerNorm": "feed_forward_norm",
}


#: What a published BERT has to be to run on these blocks.
_EXPECTED = {"hidden_act": "gelu", "position_embedding_type": "absolute", "layer_norm_eps": 1e-12}


def load_bert(folder: Path, *, max_tokens: int) -> Bert:
    """Load a transformers BERT checkpoint, such as bert-base-uncased or a sentence encoder: a folder in hub layout.

    Args:
        folder: From ``models.hub.resolve_checkpoint``.
        max_tokens: Tokens of a sentence at most; fewer where the network reads fewer.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself, is unsafe to load or holds a variant of BERT.
    """
    config = read_config(folder, ("bert",))
    settings = transformers_class("BertConfig").from_dict(config)
    expected = _EXPECTED | {"intermediate_size": 4 * settings.hidden_size}
    values = {name: getattr(settings, name, expected[name]) for name in expected}
    if other := [f"{name} {value!r}" for name, value in values.items() if value != expected[name]]:
        raise CheckpointError(
            doing=f"reading {folder / 'config.json'}",
            found=", ".join(other),
            expected=", ".join(f"{name} {value!r}" for name, value in expected.items()),
            fix="Take a plain BERT, such as google-bert/bert-base-uncased.",
        )
    model_class = transformers_class("BertModel")
    network = build_model(
        folder,
        lambda: model_class(settings, add_pooling_layer=False),
        targets=published_names("bert"),
        fill_buffers=_first_sentence,
    )
    tokenizer = WordPieceTokenizer(folder / "tokenizer.json")
    if tokenizer.num_tokens > settings.vocab_size:
        raise _unusable(
            folder / "tokenizer.json", f"{tokenizer.num_tokens:,} tokens for {settings.vocab_size:,}"
        )
    shape = BertShape(
        width=settings.hidden_size,
        depth=settings.num_hidden_layers,
        num_heads=settings.num_attention_heads,
        max_tokens=min(max_tokens, settings.max_position_embeddings),
        drop_rate=settings.hidden_dropout_prob,
    )
    bert = Bert(tokenizer, shape)
    words = "embeddings.word_embeddings.weight"  # some tables are filled up to a round size
    tensors = network.state_dict()
    bert.load_published({**tensors, words: tensors[words][: tokenizer.num_tokens]}, folder)
    return bert


def _first_sentence(network: Any) -> None:
    """Fill in that every token belongs to a first sentence, which no file holds."""
    table = network.embeddings
    table.register_buffer("token_type_ids", torch.zeros(table.token_type_ids.shape, dtype=torch.long), False)


def _split(text: str) -> list[str]:
    return [word if word == MASK else word.lower() for word in _WORD.findall(text)]


def _unusable(path: Path | str, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"reading the tokenizer {path}",
        found=found,
        expected=f"tokenizer.json of the tokenizers library, with {', '.join(SPECIAL_TOKENS)}",
        fix="Take it from a BERT checkpoint, or give none for the one that comes through pip.",
    )
