"""SigLIP and SigLIP 2: images and sentences in one space, trained with a sigmoid loss.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023; Tschannen et al., "SigLIP 2", 2025.

There is no class token: a learned probe attends to all patches in the pooling head, which is the
last attention. Dense features apply MaskCLIP's idea (Zhou, Loy, Dai, ECCV 2022) to that head: each
patch takes its own value through the output projection, and then the head's residual MLP, as the
head does with what the probe attended to. That transfer from CLIP to this head is ours. The heads ``kk`` and ``naclip``
need keys and values, which the pooling head has: patches attend to patches by k·k there. The others need queries of
patches or a class token, which it has not.

SigLIP 2 comes in two forms. At fixed resolution a checkpoint is a ``SiglipModel`` with another
tokenizer. NaFlex is a ``Siglip2Model``: its linear layer on flattened patches is the same map as a
convolution, and its position table is resized bilinearly with antialiasing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from einops import rearrange
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from lexiseg.core.errors import CheckpointError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, read_json, transformers_class
from lexiseg.models.meta_networks import NO_TOKENS, SMALLEST, quiet_transformers
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import (
    check_vocabulary_size,
    load_tokenizer,
    pad,
    special_token_id,
    tokenize,
    unknown_share,
    without_punctuation,
)
from lexiseg.ops.position_table import resize_position_table
from lexiseg.ops.self_attention import RULES

#: Heads that are defined for the pooling head.
HEADS = ("value", "kk", "naclip")

#: Of sentence-piece tokenizers; SigLIP 2's has one too but falls back to bytes.
_UNKNOWN = "<unk>"


class SiglipImageEncoder(ImageEncoder):
    """SigLIP's vision transformer: one token a patch, in the space of the text embeddings.

    Neither the tokens nor the global token is normalised. The global token is transformers' own
    ``get_image_features``.

    Args:
        vision: transformers' ``SiglipVisionModel`` or ``Siglip2VisionModel``, with its pooling head.
        normalisation: The checkpoint's pixel statistics.
        head: What patches take from the pooling head, one of ``HEADS``.
    """

    def __init__(self, vision: Any, normalisation: PixelNormalisation, *, head: str = "value") -> None:
        super().__init__()
        self.vision = vision
        self.head = head
        self.normalisation = normalisation
        self.stride = int(vision.embeddings.patch_size)
        self.is_naflex = isinstance(vision.embeddings.patch_embedding, nn.Linear)
        side = round(vision.embeddings.position_embedding.num_embeddings**0.5)
        self.native_grid = (side, side)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1]; ``H`` and ``W`` are multiples of ``stride``."""
        hidden, grid = self._embed(images)
        for layer in self.vision.encoder.layers:
            hidden = layer(hidden, None)
        hidden = self.vision.post_layernorm(hidden)
        return PatchFeatures(
            tokens=self._dense(hidden, grid),
            grid=grid,
            stride=self.stride,
            global_token=self.vision.head(hidden),
        )

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        embeddings = self.vision.embeddings
        kernel, bias = embeddings.patch_embedding.weight, embeddings.patch_embedding.bias
        if self.is_naflex:  # flattened as rows, columns, channels
            kernel = rearrange(kernel, "d (rows columns c) -> d c rows columns", rows=self.stride, c=3)
        feature_map = conv2d(self.normalisation(images), kernel, bias, stride=self.stride)
        grid = (feature_map.shape[2], feature_map.shape[3])
        table = rearrange(embeddings.position_embedding.weight, "(h w) d -> h w d", h=self.native_grid[0])
        positions = resize_position_table(table, grid, "antialiased" if self.is_naflex else "bicubic")
        return rearrange(feature_map, "b d h w -> b (h w) d") + positions, grid

    def _dense(self, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        head = self.vision.head
        attention = head.attention  # torch's own, which keeps query, key and value in one matrix
        _, key_weight, weight = rearrange(attention.in_proj_weight, "(qkv e) d -> qkv e d", qkv=3)
        _, key_bias, bias = rearrange(attention.in_proj_bias, "(qkv e) -> qkv e", qkv=3)
        values = linear(hidden, weight, bias)
        if self.head != "value":
            key, value = (
                rearrange(part, "b n (heads d) -> b heads n d", heads=attention.num_heads)
                for part in (linear(hidden, key_weight, key_bias), values)
            )
            more = {"grid": grid} if self.head == "naclip" else {}
            mixed = RULES[self.head](key, key, value, scale=key.shape[3] ** -0.5, **more)
            values = rearrange(mixed, "b heads n d -> b n (heads d)")
        tokens = attention.out_proj(values)
        return tokens + head.mlp(head.layernorm(tokens))


class SiglipTextEncoder(TextEncoder):
    """SigLIP's text transformer; embeddings as ``get_text_features`` gives them, not normalised.

    Texts are always padded on the right to the model's full length and the padding is attended to,
    because it was so in training: the state of the last position is the embedding.

    Args:
        text: transformers' ``SiglipTextModel`` or ``Siglip2TextModel``.
        tokenizer: The checkpoint's own.
        clean: Applied to every text first: what the authors' tokenizer did in Python.
        pad_id: Token to fill up with.
        end_id: Token that ends every text.
        unknown_id: Token that stands for what the tokenizer does not know; None where it has none.
    """

    def __init__(
        self,
        text: Any,
        tokenizer: Tokenizer,
        *,
        clean: Callable[[str], str],
        pad_id: int,
        end_id: int,
        unknown_id: int | None,
    ) -> None:
        super().__init__()
        self.text = text
        self.tokenizer = tokenizer
        self.clean = clean
        self.pad_id, self.end_id, self.unknown_id = pad_id, end_id, unknown_id
        self.max_tokens = int(text.embeddings.position_embedding.num_embeddings)

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]  # computed once, when first asked for
        """Content hash of the weights and the tokenizer. Do not change the weights after asking."""
        rules = f"siglip {self.clean.__qualname__} {self.pad_id} {self.end_id}"
        return fingerprint(self, rules, self.tokenizer.to_str())

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Encode texts, one row each.

        Raises:
            VocabularyError: A text has more tokens than the model reads (64 in Google's).
        """
        cleaned = [self.clean(text) for text in texts]
        encoded = tokenize(self.tokenizer, cleaned, max_tokens=self.max_tokens, close_with=self.end_id)
        ids = pad(encoded, pad_id=self.pad_id, length=self.max_tokens)
        return self.text(input_ids=ids.to(self.text.embeddings.token_embedding.weight.device)).pooler_output

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each text's tokens that are unknown, in [0, 1]."""
        return unknown_share(self.tokenizer, [self.clean(text) for text in texts], self.unknown_id)


def load_siglip(folder: Path, *, head: str = "value") -> tuple[SiglipImageEncoder, SiglipTextEncoder]:
    """Load any transformers ``SiglipModel`` or ``Siglip2Model`` checkpoint: a folder in hub layout.

    Args:
        folder: From ``models.hub.resolve_checkpoint``.
        head: What patches take from the pooling head, one of ``HEADS``.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("siglip", "siglip2"))
    family = "Siglip2" if config["model_type"] == "siglip2" else "Siglip"
    config_class, model_class = transformers_class(f"{family}Config"), transformers_class(f"{family}Model")
    model = build_model(
        folder, lambda: model_class(config_class.from_dict(config)), targets=published_names("siglip")
    )
    if not model.vision_model.use_head:
        raise CheckpointError(
            doing=f"reading {folder / 'config.json'}",
            found="a vision model without its pooling head (vision_use_head is false)",
            expected="the head, through which patches reach the space of the texts",
            fix="Choose a checkpoint of the whole SigLIP model.",
        )
    tokenizer = load_tokenizer(folder)
    check_vocabulary_size(folder, tokenizer, model.text_model.embeddings.token_embedding.num_embeddings)
    # SigLIP's own tokenizer class drops punctuation in Python; SigLIP 2's (Gemma) only lower-cases.
    own = read_json(folder, "tokenizer_config.json").get("tokenizer_class") == "SiglipTokenizer"
    text = SiglipTextEncoder(
        model.text_model,
        tokenizer,
        clean=without_punctuation if own else str.lower,
        pad_id=special_token_id(folder, tokenizer, "pad_token"),
        end_id=special_token_id(folder, tokenizer, "eos_token"),
        unknown_id=tokenizer.token_to_id(_UNKNOWN),
    )
    image = SiglipImageEncoder(model.vision_model, load_normalisation(folder), head=head)
    return image.eval(), text.eval()


def build_siglip_image_encoder(config: Mapping[str, Any]) -> SiglipImageEncoder:
    """Build the image encoder without weights, from the fields of its ``SiglipVisionConfig`` or ``Siglip2VisionConfig``."""
    family = "Siglip2" if config["model_type"] == "siglip2_vision_model" else "Siglip"
    nothing = PixelNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    text = {**SMALLEST, **NO_TOKENS, "vocab_size": 2, "max_position_embeddings": 1}
    with quiet_transformers():
        settings = transformers_class(f"{family}Config").from_dict(
            {"vision_config": dict(config), "text_config": text}
        )
        return SiglipImageEncoder(transformers_class(f"{family}Model")(settings).vision_model, nothing)
