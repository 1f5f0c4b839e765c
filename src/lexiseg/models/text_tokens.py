"""Texts to token ids, through ``tokenizers`` and ``tokenizer.json``."""

import re
import string
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.core.json_text import read_json_file
from lexiseg.core.time_limit import within_time
from lexiseg.models.checkpoint import read_json

#: How sentence-piece tokenizers write the space before a word.
_SPACE = "▁"
#: The largest published tokenizer has some 35 MB.
_MOST_BYTES = 256 << 20
_ENCODING_SECONDS = 60.0


class CaptionTokenizer(ABC):
    """Sentences to token ids, a special token at the start and one at the end included.

    Attributes:
        num_tokens: Size of the vocabulary; ids are below it.
        pad_id: Id of the padding token.
        unknown_id: Id of the unknown token; None where every text can be written in tokens.
        identity: Text that changes when the tokenizer does.
    """

    num_tokens: int
    pad_id: int
    unknown_id: int | None
    identity: str

    @abstractmethod
    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return the token ids of each sentence, special tokens included, cut to ``max_tokens``."""

    @abstractmethod
    def piece(self, index: int) -> str:
        """Return how a token is written."""

    def pieces(self, text: str, max_tokens: int) -> list[str]:
        """Return the tokens of a sentence as they are written, in the order of its ids."""
        return [self.piece(index) for index in self.ids([text], max_tokens)[0]]

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each sentence's tokens that are the unknown token; 1 where none is left."""
        rows = [row[1:-1] for row in self.ids(texts, sys.maxsize)]
        return [sum(index == self.unknown_id for index in row) / len(row) if row else 1.0 for row in rows]


class TokenEncoder(nn.Module, ABC):
    """Sentences to one vector a token: what a text encoder is before anything is pooled.

    Attributes:
        tokenizer: Cuts sentences into tokens.
        width: Length of a vector.
        whole: Which of a sentence's own tokens stands for all of it.
    """

    tokenizer: CaptionTokenizer
    width: int
    whole: Literal["first", "last"] = "first"

    @abstractmethod
    def forward(
        self, texts: Sequence[str], *, pad_to_max_length: bool
    ) -> tuple[Float[Tensor, "T L D"], Bool[Tensor, "T L"]]:
        """Encode sentences; special and padding tokens get a vector like any other token.

        Args:
            texts: Sentences; longer ones than the network reads are cut.
            pad_to_max_length: Pad every sentence to the most that the network reads; False pads to the longest one only.

        Returns:
            One vector a token (padding tokens too: nothing of the sentence attends to them), and the attention
            mask: True for the tokens of the sentence, special ones included.
        """


class BytePairTokenizer(CaptionTokenizer):
    """CLIP's own pieces, lower case; sentences longer than the network reads are cut.

    Args:
        source: A folder that holds ``tokenizer.json``, or CLIP's older pair of files; see ``load_tokenizer``. Or what
            such a file holds.

    Raises:
        CheckpointError: It cannot be read, or does not put a token at the start and one at the end.
    """

    def __init__(self, source: Path | Tokenizer) -> None:
        self._tokenizer = load_tokenizer(source) if isinstance(source, Path) else source
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.num_tokens = max(vocabulary.values()) + 1
        self.identity = self._tokenizer.to_str()
        (empty,) = (encoding.ids for encoding in encode_texts(self._tokenizer, [""]))
        if len(empty) != 2:
            raise CheckpointError(
                doing=f"reading the tokenizer {f'in {source}' if isinstance(source, Path) else 'of a run'}",
                found=f"token ids {empty} for an empty text",
                expected="one token at the start and one at the end",
                fix="Take the tokenizer of a CLIP or GroupViT checkpoint.",
            )
        self._end = empty[1]
        self.pad_id, self.unknown_id = self._end, None

    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return the token ids of each sentence, special tokens included, cut to ``max_tokens``."""
        rows = (encoding.ids for encoding in encode_texts(self._tokenizer, texts))
        return [row if len(row) <= max_tokens else [*row[: max_tokens - 1], self._end] for row in rows]

    def piece(self, index: int) -> str:
        """Return how a token is written."""
        return self._tokenizer.id_to_token(index) or str(index)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read ``tokenizer.json``, or CLIP's older pair ``vocab.json`` and ``merges.txt``.

    Truncation and padding stored in the file are switched off: texts are never cut silently.

    Raises:
        CheckpointError: Neither is there, or they cannot be read.
    """
    file = folder / "tokenizer.json"
    try:
        if file.exists():
            tokenizer = read_tokenizer_file(file)
        elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            tokenizer = _from_vocabulary_and_merges(folder)
        else:
            raise FileNotFoundError("no such file")
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(
            doing=f"reading {file}",
            found=str(error),
            expected="tokenizer.json of the tokenizers library (or vocab.json and merges.txt of CLIP)",
            fix="Download or copy the checkpoint again, complete; spiece.model alone is not enough.",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer_file(file: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        Exception: It cannot be read, or is larger than any tokenizer; the library raises nothing finer.
    """
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{file.stat().st_size:,} bytes, more than the {_MOST_BYTES:,} of any tokenizer")
    return Tokenizer.from_file(str(file))


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True) -> list[Encoding]:
    """Encode texts by a tokenizer that may come from anywhere: its expressions can take for ever.

    Raises:
        CheckpointError: It has not ended after a time that no tokenizer needs.
    """
    try:
        return within_time(
            lambda: tokenizer.encode_batch(list(texts), add_special_tokens=special),
            _ENCODING_SECONDS + len(texts) / 100,
        )
    except TimeoutError as error:
        raise CheckpointError(
            doing=f"encoding {len(texts):,} texts by the checkpoint's tokenizer",
            found=str(error),
            expected="an answer within milliseconds",
            fix="Its tokenizer.json holds an expression that does not end: take the checkpoint from its source.",
        ) from error


def special_token_id(folder: Path, tokenizer: Tokenizer, role: str) -> int:
    """Return the id of a special token, such as ``pad_token``, by the checkpoint's own settings.

    As in transformers, ``special_tokens_map.json`` goes before ``tokenizer_config.json`` where the latter is from
    before transformers 4.34 and has no ``added_tokens_decoder``. Stable Diffusion 2 pads with ``!`` by the one and
    with the end token by the other.

    Raises:
        CheckpointError: The settings name no such token, or the vocabulary lacks it.
    """
    source = "tokenizer_config.json"
    settings = read_json(folder, source)
    token = settings.get(role)
    overriding = folder / "special_tokens_map.json"
    if "added_tokens_decoder" not in settings and overriding.exists():
        special = read_json(folder, overriding.name)
        if role in special:
            source, token = overriding.name, special[role]
    if isinstance(token, dict):  # an added token with its stripping rules
        token = token.get("content")
    index = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if index is None:
        raise CheckpointError(
            doing=f"reading {folder / source}",
            found=f"{role} {token!r}, which tokenizer.json does not have",
            expected=f"a {role} of the vocabulary",
            fix=f"Take tokenizer.json and {source} from the same checkpoint.",
        )
    return index


def check_vocabulary_size(folder: Path, tokenizer: Tokenizer, num_embeddings: int) -> None:
    """Check that every token has an embedding.

    Raises:
        CheckpointError: The tokenizer has more tokens than the network.
    """
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= num_embeddings:
        raise CheckpointError(
            doing=f"comparing {folder / 'tokenizer.json'} with the weights",
            found=f"token id {largest}",
            expected=f"ids below {num_embeddings}, the number of token embeddings",
            fix="Take tokenizer.json and the weights from the same checkpoint.",
        )


def check_end_token(folder: Path, tokenizer: Tokenizer, end: int) -> None:
    """Check that texts end in the token whose state is the embedding; without it, it would be another's.

    Args:
        folder: For the message.
        tokenizer: Of the checkpoint.
        end: Id of the end token by the checkpoint's settings.

    Raises:
        CheckpointError: They do not.
    """
    ids = encode_texts(tokenizer, ["a"])[0].ids
    # Old checkpoints say 2 and mean the highest id of the text (transformers pull request 24773).
    if ids[-1] != (max(ids) if end == 2 else end) or len(ids) < 3:
        raise CheckpointError(
            doing=f"comparing {folder / 'tokenizer.json'} with config.json",
            found=f"token ids {ids} for the text 'a'",
            expected=f"a start token, the text and the end token {end}",
            fix="Take tokenizer.json and config.json from the same checkpoint.",
        )


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str], *, max_tokens: int, close_with: int | None = None
) -> list[list[int]]:
    """Encode texts, each with the special tokens its tokenizer adds.

    Args:
        tokenizer: From ``load_tokenizer``.
        texts: Sentences, cleaned as the model wants them.
        max_tokens: What the network reads, special tokens included.
        close_with: Token that must end every text; appended where the tokenizer leaves it away.

    Raises:
        VocabularyError: A text has more tokens than ``max_tokens``.
    """
    encoded = [list(encoding.ids) for encoding in encode_texts(tokenizer, texts)]
    for ids in encoded:
        if close_with is not None and ids[-1:] != [close_with]:
            ids.append(close_with)
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) > max_tokens:
            raise VocabularyError(
                doing=f"encoding the text {text if len(text) <= 60 else text[:60] + '…'!r}",
                found=f"{len(ids)} tokens",
                expected=f"at most {max_tokens}, which is what the model reads (start and end included)",
                fix="Use a shorter name, or a prompt set with shorter sentences such as bare.",
            )
    return encoded


def unknown_share(tokenizer: Tokenizer, texts: Sequence[str], unknown_id: int | None) -> list[float]:
    """Return the share of unknown tokens in each text, special tokens and bare spaces left out.

    Args:
        tokenizer: From ``load_tokenizer``.
        texts: Sentences, cleaned as the model wants them.
        unknown_id: Token that stands for what the tokenizer does not know; None where it has none.

    Returns:
        Numbers in [0, 1]; 1 for a text of which nothing is left.
    """
    shares = []
    for encoding in encode_texts(tokenizer, texts, special=False):
        read = [index for index, token in zip(encoding.ids, encoding.tokens, strict=True) if token != _SPACE]
        shares.append(sum(index == unknown_id for index in read) / len(read) if read else 1.0)
    return shares


def pad(encoded: Sequence[Sequence[int]], *, pad_id: int, length: int) -> Int[Tensor, "T L"]:
    """Fill up token ids on the right to ``length``."""
    return torch.tensor([[*ids, *[pad_id] * (length - len(ids))] for ids in encoded], dtype=torch.long)


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int, length: int
) -> tuple[Int[Tensor, "T L"], Bool[Tensor, "T L"]]:
    """Fill up token ids on the right to ``length``; return them, and True where they are a sentence's own."""
    lengths = torch.tensor([len(row) for row in rows])
    return pad(rows, pad_id=pad_id, length=length), torch.arange(length) < lengths[:, None]


def without_punctuation(text: str) -> str:
    """Lower-case a text and drop ASCII punctuation and repeated spaces, as SigLIP was trained."""
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


def _from_vocabulary_and_merges(folder: Path) -> Tokenizer:
    from transformers import CLIPTokenizer

    vocabulary = read_json_file(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    return CLIPTokenizer(vocab=vocabulary, merges=merges).backend_tokenizer
