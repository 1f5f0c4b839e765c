"""LoDA pooling (local responses, CVPR 2023) of images and sentences, and SimSeg's text encoder with class names in prompts."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lexiseg.core.interfaces import TextEncoder
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.methods.simseg.settings import PoolingSettings, SimSegSettings
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.text_tokens import TokenEncoder
from lexiseg.ops.topk_pool import token_mean, topk_mean

#: Added to the length that a vector is divided by.
_NORM_EPS = 1e-8


def pool_image(
    patches: Float[Tensor, "B N D"], cls_token: Float[Tensor, "B D"], settings: PoolingSettings
) -> Float[Tensor, "B D"]:
    """Pool the projected patches of each image, then normalise; ``cls_token`` is what pooling ``cls`` takes."""
    if settings.pooling == "topk":
        return unit(topk_mean(patches, settings.image_topk))
    return unit(token_mean(patches) if settings.pooling == "mean" else cls_token)


def pool_text(
    tokens: Float[Tensor, "B L D"],
    attention_mask: Bool[Tensor, "B L"],
    settings: PoolingSettings,
    whole: Literal["first", "last"] = "first",
) -> Float[Tensor, "B D"]:
    """Pool the projected tokens of each sentence, CLS and SEP token among them, then normalise.

    Args:
        tokens: One vector a token.
        attention_mask: True for the sentence's tokens, False for padding tokens.
        settings: How they are pooled. The mean never counts padding tokens, whatever ``padding`` says: published
            code does not either.
        whole: Which of a sentence's own tokens pooling ``cls`` takes.
    """
    if settings.pooling == "topk":
        keep = attention_mask if settings.padding == "masked" else None
        return unit(topk_mean(tokens, settings.text_topk, keep))
    if settings.pooling == "mean":
        return unit(token_mean(tokens.float(), attention_mask))
    at = (
        attention_mask.sum(1) - 1
        if whole == "last"
        else torch.zeros_like(attention_mask[:, 0], dtype=torch.long)
    )
    return unit(tokens[torch.arange(len(tokens), device=tokens.device), at])


def unit(vectors: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
    """Divide by the length, in float32 at least."""
    vectors = vectors if vectors.dtype.itemsize > 2 else vectors.float()
    return vectors / (vectors.norm(dim=-1, keepdim=True) + _NORM_EPS)


#: Smaller networks embed words faster than a file is read, and change while they are trained.
_WORTH_A_FILE = 20_000_000


class SimSegTextEncoder(TextEncoder):
    """A text transformer, one linear layer, and the pooling of training or of testing.

    Args:
        network: Gives one vector a token.
        method: Sets the pooling.
    """

    def __init__(self, network: TokenEncoder, method: SimSegSettings) -> None:
        super().__init__()
        self.network = network
        self.projection = nn.Linear(network.width, method.embedding_dim, bias=False)
        nn.init.trunc_normal_(self.projection.weight, std=network.width**-0.5)
        self._method = method
        self._fingerprint: tuple[tuple[int, ...], str] | None
        self._embedded: dict[tuple[str, str], Tensor]
        self._embedded_with: tuple[int, ...]
        self._forget()

    @property
    def fingerprint(self) -> str:  # type: ignore[override]  # weights may have been trained since
        """Content hash of the present weights, the tokenizer and the pooling."""
        state = self._state()
        if self._fingerprint is None or self._fingerprint[0] != state:
            facts = (self.network.tokenizer.identity, repr(self._method.testing))
            self._fingerprint = state, fingerprint(self, "simseg", *facts)
        return self._fingerprint[1]

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Embed sentences as unit vectors; in training mode with the pooling of training."""
        pooling = self._method.training if self.training else self._method.testing
        pool_padding = pooling.pooling == "topk" and pooling.padding == "plain"
        tokens, attention_mask = self.network(texts, pad_to_max_length=pool_padding)
        return pool_text(self.projection(tokens), attention_mask, pooling, self.network.whole)

    def piece_parts(
        self, texts: Sequence[str], image: Float[Tensor, " D"]
    ) -> Iterator[tuple[list[str], Float[Tensor, " L"]]]:
        """Yield the word pieces of each sentence and how much each adds to its cosine with an image's unit vector.

        They add up to that cosine; padding tokens, where they are pooled, are left out of what is returned.
        """
        pooling = self._method.testing
        for text in texts:
            pool_padding = pooling.pooling == "topk" and pooling.padding == "plain"
            states, mask = self.network([text], pad_to_max_length=pool_padding)
            tokens = self.projection(states)[0].float()
            pooled = pool_text(tokens[None], mask, pooling, self.network.whole)[0]
            keep = (
                mask[0]
                if pooling.padding == "masked" or pooling.pooling != "topk"
                else torch.ones_like(mask[0])
            )
            if pooling.pooling == "topk":
                count = min(pooling.text_topk, int(keep.sum()))
                taken = tokens.masked_fill(~keep[:, None], -torch.inf).topk(count, dim=0).indices
                weights = torch.zeros_like(tokens).scatter(0, taken, 1 / count)
            elif pooling.pooling == "mean":
                weights = (keep[:, None] / keep.sum()).expand_as(tokens)
            else:
                weights = torch.zeros_like(tokens)
                weights[int(mask[0].sum()) - 1 if self.network.whole == "last" else 0] = 1
            mean = (weights * tokens).sum(0)
            length = (mean * pooled).sum() / (pooled * pooled).sum()
            parts = (weights * tokens) @ (image.to(tokens) / length)
            pieces = self.network.tokenizer.pieces(text, int(mask[0].sum()))
            yield pieces, parts[: len(pieces)].cpu()

    def unknown_share(self, texts: Sequence[str]) -> list[float]:
        """Return the share of each text's words that are unknown, in [0, 1]."""
        return self.network.tokenizer.unknown_share(texts)

    def embed_names(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Embed class names, remembered as long as the weights stay; those of large networks on disk too."""
        state = self._state()
        if self._embedded_with != state:
            self._embedded, self._embedded_with = {}, state
        missing = list(dict.fromkeys(name for name in names if (prompts, name) not in self._embedded))
        if missing:
            large = sum(parameter.numel() for parameter in self.parameters()) > _WORTH_A_FILE
            found = embed_names(self, missing, prompts, cache="default" if large else None)
            self._embedded |= {(prompts, name): row for name, row in zip(missing, found, strict=True)}
        return torch.stack([self._embedded[prompts, name] for name in names])

    def train(self, mode: bool = True) -> "SimSegTextEncoder":
        """Switch between training and testing; what was remembered is forgotten.

        Optimisers with fused kernels change weights without leaving a trace on them.
        """
        self._forget()
        return super().train(mode)

    def _apply(self, *arguments: Any, **keywords: Any) -> "SimSegTextEncoder":
        self._forget()  # what was remembered lies on the old device
        return super()._apply(*arguments, **keywords)  # type: ignore[no-untyped-call]

    def _forget(self) -> None:
        self._embedded, self._embedded_with, self._fingerprint = {}, (), None

    def _state(self) -> tuple[int, ...]:
        """Return numbers that change when a weight is replaced or written to."""
        return tuple(number for value in self.parameters() for number in (id(value), value._version))
