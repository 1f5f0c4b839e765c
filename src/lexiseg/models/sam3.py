"""SAM 3 on single images: masks of everything that a noun phrase names.

Carion et al., "SAM 3: Segment Anything with Concepts", 2025. The hub's checkpoint is one for video: its detector is what is
read, and what it remembers of earlier frames is left out. Weights are gated and have a licence of their own.

Differences from transformers' own processing: names are asked for in groups on one encoding of the image, which gives the
same numbers as one by one, and mask logits are handed on as they are, for whoever resizes them before the sigmoid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError
from lexiseg.models.checkpoint import build_model, fingerprint, read_config, transformers_class
from lexiseg.models.pixel_normalisation import PixelNormalisation, load_normalisation
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import check_vocabulary_size, load_tokenizer, pad, tokenize

#: Tokens of a phrase, start and end included: what the text encoder was trained with.
MAX_TOKENS = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class NamePredictions:
    """What SAM 3 says of ``T`` names on one image.

    Attributes:
        presence: Logits that the image has the thing at all.
        semantic: Logits of all pixels of the name.
        scores: Logits of each of ``Q`` queries being one instance of it.
        masks: Logits of each query's mask.
    """

    presence: Float[Tensor, " T"]
    semantic: Float[Tensor, "T h w"]
    scores: Float[Tensor, "T Q"]
    masks: Float[Tensor, "T Q h w"]


class Sam3(nn.Module):
    """SAM 3's detector.

    Args:
        network: transformers' ``Sam3Model``.
        tokenizer: The checkpoint's own, of CLIP's kind.
        normalisation: The checkpoint's pixel statistics.
    """

    def __init__(self, network: Any, tokenizer: Tokenizer, normalisation: PixelNormalisation) -> None:
        super().__init__()
        self.network, self.tokenizer, self.normalisation = network, tokenizer, normalisation
        backbone = network.config.vision_config.backbone_config
        self.input_side, self.stride = int(backbone.image_size), int(backbone.patch_size)
        self.num_queries = int(network.config.detr_decoder_config.num_queries)
        self.pad_id = _pad_id(tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the weights and the tokenizer. Do not change the weights after asking."""
        return fingerprint(self, "sam3", self.tokenizer.to_str())

    def encode(self, squares: Float[Tensor, "B 3 s s"]) -> tuple[Tensor, ...]:
        """Encode RGB images in [0, 1] of the network's own side: maps of falling size and their positions, in turn."""
        found = self.network.get_vision_features(self.normalisation(squares))
        return (*found.fpn_hidden_states, *found.fpn_position_encoding)

    def embed(self, names: Sequence[str]) -> tuple[Float[Tensor, "T L D"], Bool[Tensor, "T L"]]:
        """Embed names, a vector a token, and tell which tokens are real.

        Raises:
            VocabularyError: A name has more tokens than the model reads.
        """
        encoded = tokenize(self.tokenizer, names, max_tokens=MAX_TOKENS)
        ids = pad(encoded, pad_id=self.pad_id, length=MAX_TOKENS).to(self.normalisation.mean.device)
        lengths = torch.tensor([len(each) for each in encoded], device=ids.device)
        mask = torch.arange(MAX_TOKENS, device=ids.device) < lengths[:, None]
        found = self.network.get_text_features(input_ids=ids, attention_mask=mask.long())
        return found.pooler_output, mask

    def predict(
        self, levels: Sequence[Tensor], texts: Float[Tensor, "T L D"], mask: Bool[Tensor, "T L"]
    ) -> NamePredictions:
        """Ask for ``T`` names on one encoded image; only what follows the encoders is done once a name.

        Args:
            levels: From ``encode``, of one image.
            texts: From ``embed``.
            mask: From ``embed``.
        """
        expanded = [level.expand(len(texts), *level.shape[1:]) for level in levels]
        half = len(expanded) // 2
        said = self.network(
            vision_embeds=_VisionOutput(
                fpn_hidden_states=tuple(expanded[:half]), fpn_position_encoding=tuple(expanded[half:])
            ),
            text_embeds=_TextOutput(pooler_output=texts),
            attention_mask=mask.long(),
        )
        return NamePredictions(
            presence=said.presence_logits.reshape(-1),
            semantic=said.semantic_seg[:, 0],
            scores=said.pred_logits,
            masks=said.pred_masks,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _VisionOutput:
    """What transformers asks of an image that was encoded before."""

    fpn_hidden_states: tuple[Tensor, ...]
    fpn_position_encoding: tuple[Tensor, ...]
    hidden_states: None = None
    attentions: None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _TextOutput:
    """What transformers asks of texts that were embedded before: a bare tensor ends in an error."""

    pooler_output: Tensor


def load_sam3(folder: Path) -> Sam3:
    """Load a SAM 3 checkpoint, for video as on the hub or the detector alone: a folder in hub layout.

    Raises:
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    config = read_config(folder, ("sam3", "sam3_video"))
    if config["model_type"] == "sam3_video":
        detector = config.get("detector_config")
        if not isinstance(detector, dict):
            raise CheckpointError(
                doing=f"reading {folder / 'config.json'}",
                found="a video checkpoint without detector_config",
                expected="the settings of the detector, which is what sees single images",
                fix="Take config.json and the weights from the same place.",
            )
        config = detector
    settings = config
    config_class, model_class = transformers_class("Sam3Config"), transformers_class("Sam3Model")
    network = build_model(
        folder,
        lambda: model_class(config_class(**settings)),
        targets=published_names("sam3"),
        fill_buffers=_fill_buffers,
    )
    tokenizer = load_tokenizer(folder)
    embeddings = network.text_encoder.text_model.embeddings.token_embedding
    check_vocabulary_size(folder, tokenizer, embeddings.num_embeddings)
    return Sam3(network, tokenizer, load_normalisation(folder)).eval()


def _fill_buffers(network: Any) -> None:
    """Compute the rotary positions, which follow from the settings and are in no file."""
    for layer in network.vision_encoder.backbone.layers:
        layer.position_ids = layer.precompute_positions(layer.config, layer.window_size)
        layer.rotary_emb = type(layer.rotary_emb)(layer.config)


def _pad_id(tokenizer: Tokenizer) -> int:
    """Return CLIP's end token, which pads too; padding is masked, so that its id says nothing."""
    return int(tokenizer.encode("a").ids[-1])
