"""CLIP: images and sentences in one space, and its patches too.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
Dense features after Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022 (MaskCLIP): in
the last attention block every patch takes its own value, through the output projection, instead of
the attention-weighted mean. The paper says to drop query and key; that the block's residual and MLP
are left out for patches too is our reading, a reconstruction.

Differences from transformers: inputs of any size that is a multiple of the patch, normalisation
inside, and the pooled embedding attends from the class token alone, which gives the same numbers.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import (
    check_end_token,
    check_vocabulary_size,
    load_tokenizer,
    pad,
    tokenize,
    unknown_share,
)
from lexiseg.ops.position_table import resize_position_table


class ClipImageEncoder(ImageEncoder):
    """CLIP's vision transformer: one token a patch, in the space of the text embeddings.

    Neither the tokens nor the global token is normalised. The global token is transformers' own
    ``get_image_features``.

    Args:
        vision: transformers' ``CLIPVisionModel``.
        projection: From the transformer's width to the shared space.
        normalisation: The checkpoint's pixel statistics.
    """

    def __init__(self, vision: Any, projection: nn.Module, normalisation: PixelNormalisation) -> None:
        super().__init__()
        self.vision = vision
        self.projection = projection
        self.normalisation = normalisation
        self.stride = int(vision.embeddings.patch_size)
        side = int(vision.embeddings.image_size) // self.stride
        self.native_grid = (side, side)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        hidden, grid = self._embed(images)
        *body, last = self.vision.encoder.layers
        for layer in body:
            hidden = layer(hidden, None)

        attention = last.self_attn
        normed = last.layer_norm1(hidden)
        value = attention.v_proj(normed)
        patches = attention.out_proj(value[:, 1:])
        # Only the class token's query is needed for the pooled embedding.
        query, key, by_head = (
            rearrange(part, "b n (heads d) -> b heads n d", heads=attention.num_heads)
            for part in (attention.q_proj(normed[:, :1]), attention.k_proj(normed), value)
        )
        attended = scaled_dot_product_attention(query, key, by_head, scale=attention.scale)
        pooled = hidden[:, :1] + attention.out_proj(rearrange(attended, "b heads 1 d -> b 1 (heads d)"))
        pooled = pooled + last.mlp(last.layer_norm2(pooled))
        return PatchFeatures(
            tokens=self._project(patches),
            grid=grid,
            stride=self.stride,
            global_token=self._project(pooled)[:, 0],
        )

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        embeddings = self.vision.embeddings
        feature_map = embeddings.patch_embedding(self.normalisation(images))
        grid = (feature_map.shape[2], feature_map.shape[3])
        table = embeddings.position_embedding.weight
        square = rearrange(table[1:], "(h w) d -> h w d", h=self.native_grid[0])
        patches = rearrange(feature_map, "b d h w -> b (h w) d")
        patches = patches + resize_position_table(square, grid, "bicubic")
        start = repeat(embeddings.class_embedding + table[0], "d -> b 1 d", b=len(images))
        return self.vision.pre_layrnorm(torch.cat([start, patches], dim=1)), grid

    def _project(self, tokens: Tensor) -> Tensor:
        return self.projection(self.vision.post_layernorm(tokens))


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
