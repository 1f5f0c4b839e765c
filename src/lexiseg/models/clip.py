"""CLIP: images and sentences in one space, and its patches too.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
Dense features come out of the last block by one of the heads of ``ops.dense_heads``. The plainest, ``value``, is after
Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022 (MaskCLIP): every patch takes its own value, through the
output projection, instead of the attention-weighted mean, and the block's residual and MLP are left out.

Differences from transformers: inputs of any size that is a multiple of the patch, normalisation
inside, and the pooled embedding attends from the class token alone, which gives the same numbers.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lexiseg.core.block_states import BlockStates, LastBlock
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import OpenImageEncoder, TextEncoder
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, transformers_class
from lexiseg.models.meta_networks import NO_TOKENS, SMALLEST, quiet_transformers
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import (
    BytePairTokenizer,
    TokenEncoder,
    check_end_token,
    check_vocabulary_size,
    load_tokenizer,
    pad,
    pad_rows,
    tokenize,
    unknown_share,
)
from lexiseg.ops.dense_heads import dense_tokens
from lexiseg.ops.position_table import resize_position_table


class ClipLastBlock(LastBlock):
    """The last block of CLIP's vision transformer, with what follows it.

    Args:
        vision: transformers' ``CLIPVisionModel``.
        projection: From the transformer's width to the shared space.
    """

    def __init__(self, vision: Any, projection: nn.Module) -> None:
        self._vision, self._projection = vision, projection
        self._layer = vision.encoder.layers[-1]
        self.scale = float(self._layer.self_attn.scale)

    def queries_keys_values(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See ``LastBlock``."""
        normed, attention = self._layer.layer_norm1(states), self._layer.self_attn
        query, key, value = (
            _by_head(linear(normed), attention.num_heads)
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        return query, key, value

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """See ``LastBlock``."""
        normed, attention = self._layer.layer_norm1(states), self._layer.self_attn
        key, value = (
            _by_head(linear(normed), attention.num_heads) for linear in (attention.k_proj, attention.v_proj)
        )
        return key, value

    def values(self, states: Tensor) -> Tensor:
        """See ``LastBlock``."""
        attention = self._layer.self_attn
        return _by_head(attention.v_proj(self._layer.layer_norm1(states)), attention.num_heads)

    def output(self, attended: Tensor) -> Tensor:
        """See ``LastBlock``."""
        joined: Tensor = self._layer.self_attn.out_proj(rearrange(attended, "b heads n d -> b n (heads d)"))
        return joined

    def complete(self, states: Tensor, attended: Tensor) -> Tensor:
        """See ``LastBlock``."""
        tokens = states + self.output(attended)
        return tokens + self._layer.mlp(self._layer.layer_norm2(tokens))

    def project(self, tokens: Tensor) -> Tensor:
        """See ``LastBlock``."""
        projected: Tensor = self._projection(self._vision.post_layernorm(tokens))
        return projected

    def carry_copies(self, states: Sequence[Tensor], allowed: Bool[Tensor, "B M T"]) -> Tensor:
        """See ``LastBlock``."""
        copies = states[0][:, :1].expand(-1, allowed.shape[1], -1)
        for tokens, layer in zip(states, self._vision.encoder.layers, strict=True):
            attention = layer.self_attn
            normed = layer.layer_norm1(tokens)
            query, key, value = (
                _by_head(part, attention.num_heads)
                for part in (
                    attention.q_proj(layer.layer_norm1(copies)),
                    attention.k_proj(normed),
                    attention.v_proj(normed),
                )
            )
            attended = scaled_dot_product_attention(
                query, key, value, attn_mask=allowed[:, None], scale=attention.scale
            )
            copies = copies + attention.out_proj(rearrange(attended, "b heads n d -> b n (heads d)"))
            copies = copies + layer.mlp(layer.layer_norm2(copies))
        return copies


class ClipImageEncoder(OpenImageEncoder):
    """CLIP's vision transformer: one token a patch, in the space of the text embeddings.

    Neither the tokens nor the global token is normalised. The global token is transformers' own
    ``get_image_features``, whatever the head.

    Args:
        vision: transformers' ``CLIPVisionModel``.
        projection: From the transformer's width to the shared space.
        normalisation: The checkpoint's pixel statistics.
        head: What patches take from the last block, one of ``ops.dense_heads.HEADS``.
    """

    def __init__(
        self, vision: Any, projection: nn.Module, normalisation: PixelNormalisation, *, head: str = "value"
    ) -> None:
        super().__init__()
        self.vision = vision
        self.projection = projection
        self.normalisation = normalisation
        self.head = head
        self.stride = int(vision.embeddings.patch_size)
        side = int(vision.embeddings.image_size) // self.stride
        self.native_grid = (side, side)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        opened = self.open(images)
        return PatchFeatures(
            tokens=dense_tokens(opened, self.head),
            grid=opened.grid,
            stride=self.stride,
            global_token=self.global_token(opened),
        )

    def open(self, images: Float[Tensor, "B 3 H W"]) -> BlockStates:
        """Run all blocks but the last on RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        hidden, grid = self._embed(images)
        states = [hidden]
        for layer in self.vision.encoder.layers[:-1]:
            states.append(layer(states[-1], None))
        return BlockStates(states=tuple(states), grid=grid, stride=self.stride, block=self.last_block)

    @property
    def last_block(self) -> ClipLastBlock:
        """Return the last block and what follows it."""
        return ClipLastBlock(self.vision, self.projection)

    def global_token(self, opened: BlockStates) -> Float[Tensor, "B E"]:
        """Embed the whole image: only the class token goes through the last block."""
        last, hidden = self.vision.encoder.layers[-1], opened.last
        attention, normed = last.self_attn, last.layer_norm1(hidden)
        query, key, value = (
            _by_head(part, attention.num_heads)
            for part in (
                attention.q_proj(normed[:, :1]),
                attention.k_proj(normed),
                attention.v_proj(normed),
            )
        )
        attended = scaled_dot_product_attention(query, key, value, scale=attention.scale)
        return opened.block.project(opened.block.complete(hidden[:, :1], attended))[:, 0]

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        embeddings = self.vision.embeddings
        feature_map = embeddings.patch_embedding(self.normalisation(images))
        grid = (feature_map.shape[2], feature_map.shape[3])
        table = embeddings.position_embedding.weight
        square = rearrange(table[1:], "(h w) d -> h w d", h=self.native_grid[0])
        patches = rearrange(feature_map, "b d h w -> b (h w) d")
        patches = patches + resize_position_table(square, grid, "bicubic")
        start = (embeddings.class_embedding + table[0]).expand(patches.shape[0], 1, -1)
        return self.vision.pre_layrnorm(torch.cat([start, patches], dim=1)), grid


def _by_head(tokens: Tensor, num_heads: int) -> Tensor:
    return rearrange(tokens, "b n (heads d) -> b heads n d", heads=num_heads)


class ClipTextEncoder(TextEncoder):
    """CLIP's text transformer; embeddings as ``get_text_features`` gives them, not normalised.

    Args:
        text: transformers' ``CLIPTextModel``.
        projection: From the transformer's width to the shared space.
        tokenizer: The checkpoint's own; it lower-cases and adds start and end.
    """

    def __init__(self, text: Any, projection: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.text = text
        self.projection = projection
        self.tokenizer = tokenizer
        self.max_tokens = int(text.embeddings.position_embedding.num_embeddings)

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]  # computed once, when first asked for
        """Content hash of the weights and the tokenizer. Do not change the weights after asking."""
        return fingerprint(self, "clip", self.tokenizer.to_str())

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Encode texts, one row each.

        Raises:
            VocabularyError: A text has more tokens than the model reads (77 in OpenAI's).
        """
        encoded = tokenize(self.tokenizer, texts, max_tokens=self.max_tokens)
        # A token sees only those before it, so what follows the end token changes nothing.
        ids = pad(encoded, pad_id=0, length=max(map(len, encoded)))
        ids = ids.to(self.text.embeddings.token_embedding.weight.device)
        return self.projection(self.text(input_ids=ids).pooler_output)

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each text's tokens that are unknown; only a text of nothing has any.

        The tokenizer reads bytes, and has a token for each.
        """
        return unknown_share(self.tokenizer, texts, unknown_id=None)


class ClipTokens(TokenEncoder):
    """CLIP's text transformer before its pooling: one vector a token, of which the last stands for the sentence.

    A token sees only those before it.

    Args:
        text: transformers' ``CLIPTextModel``.
        tokenizer: The checkpoint's own.
        max_tokens: Tokens of a sentence at most, the first and the last one included; longer sentences are cut.
    """

    whole = "last"

    def __init__(self, text: Any, tokenizer: BytePairTokenizer, max_tokens: int) -> None:
        super().__init__()
        self.text, self.tokenizer = text, tokenizer
        self.max_tokens = min(max_tokens, int(text.embeddings.position_embedding.num_embeddings))
        self.width = int(text.embeddings.token_embedding.embedding_dim)

    def forward(
        self, texts: Sequence[str], *, pad_to_max_length: bool
    ) -> tuple[Float[Tensor, "T L D"], Bool[Tensor, "T L"]]:
        """Encode sentences; see ``TokenEncoder``. Padding tokens are end tokens, which see the sentence."""
        rows = self.tokenizer.ids(texts, self.max_tokens)
        length = self.max_tokens if pad_to_max_length else max(map(len, rows))
        ids, attention_mask = pad_rows(rows, self.tokenizer.pad_id, length)
        device = self.text.embeddings.token_embedding.weight.device
        return self.text(input_ids=ids.to(device)).last_hidden_state, attention_mask.to(device)


def load_clip_tokens(folder: Path, *, max_tokens: int) -> ClipTokens:
    """Load the text transformer of a ``CLIPModel`` checkpoint, without its projection.

    Raises:
        CheckpointError: As ``load_clip``.
    """
    return ClipTokens(load_clip(folder)[1].text, BytePairTokenizer(folder), max_tokens)


def build_clip_tokens(config: Mapping[str, Any], tokenizer: BytePairTokenizer, max_tokens: int) -> ClipTokens:
    """Build the text transformer without weights, from the fields of a ``CLIPTextConfig``."""
    return ClipTokens(_built(text_config=dict(config)).text_model, tokenizer, max_tokens)


def build_clip_image_encoder(config: Mapping[str, Any], width: int) -> ClipImageEncoder:
    """Build the image encoder without weights, from the fields of a ``CLIPVisionConfig`` and the length of its tokens."""
    model = _built(vision_config=dict(config), projection_dim=width)
    nothing = PixelNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return ClipImageEncoder(model.vision_model, model.visual_projection, nothing)


def _built(**config: Any) -> Any:
    """Build a ``CLIPModel`` of which one half is wanted; the other is as small as it can be."""
    halves = {
        "text_config": {**SMALLEST, **NO_TOKENS, "vocab_size": 1, "max_position_embeddings": 1},
        "vision_config": {**SMALLEST, "image_size": 1, "patch_size": 1},
    }
    with quiet_transformers():
        settings = transformers_class("CLIPConfig").from_dict({**halves, **config})
        return transformers_class("CLIPModel")(settings)


def load_clip(folder: Path) -> tuple[ClipImageEncoder, ClipTextEncoder]:
    """Load any transformers ``CLIPModel`` checkpoint: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("clip",))
    config_class, model_class = transformers_class("CLIPConfig"), transformers_class("CLIPModel")
    model = build_model(
        folder, lambda: model_class(config_class.from_dict(config)), targets=published_names("clip")
    )
    tokenizer = load_tokenizer(folder)
    check_vocabulary_size(folder, tokenizer, model.text_model.embeddings.token_embedding.num_embeddings)
    check_end_token(folder, tokenizer, model.config.text_config.eos_token_id)
    image = ClipImageEncoder(model.vision_model, model.visual_projection, load_normalisation(folder))
    text = ClipTextEncoder(model.text_model, model.text_projection, tokenizer)
    return image.eval(), text.eval()
