"""A transformer block with its parts apart, as CLIP names them: attention, feed-forward network, stochastic depth.

``transformer_block`` keeps query, key and value in one matrix, which is faster for networks of our own; here they
are three, as published checkpoints store them.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

Activation = Callable[[Tensor], Tensor]


def quick_gelu(values: Tensor) -> Tensor:
    """Approximate GELU by a sigmoid, as CLIP's text transformer does."""
    return values * torch.sigmoid(1.702 * values)


class Attention(nn.Module):
    """Multi-head attention of some tokens to others, or to themselves.

    Args:
        width: Length of a token.
        num_heads: Divides ``width``.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        assert width % num_heads == 0, f"{num_heads} heads do not divide a width of {width}"
        self.num_heads = num_heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, queries: Float[Tensor, "B Q D"], keys: Float[Tensor, "B N D"], *, causal: bool = False
    ) -> Float[Tensor, "B Q D"]:
        """Attend from ``queries`` to ``keys``; ``causal`` hides the tokens after each one."""
        query, key, value = (
            rearrange(part, "b n (heads d) -> b heads n d", heads=self.num_heads)
            for part in (self.q_proj(queries), self.k_proj(keys), self.v_proj(keys))
        )
        attended = scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(rearrange(attended, "b heads n d -> b n (heads d)"))


class FeedForward(nn.Module):
    """Two linear layers with an activation between.

    Args:
        width: Length of what comes in.
        hidden: Length between the layers.
        out: Length of what comes out; ``width`` by default.
        activation: GELU by default.
    """

    def __init__(
        self, width: int, hidden: int, out: int | None = None, activation: Activation = gelu
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)
        self.activation = activation

    def forward(self, tokens: Float[Tensor, "*b _"]) -> Float[Tensor, "*b _"]:
        """Map the last axis."""
        return self.fc2(self.activation(self.fc1(tokens)))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised before and added to what came in.

    Args:
        width: Length of a token.
        num_heads: Divides ``width``.
        feed_forward: Inner width of the feed-forward network.
        norm_eps: Added to the variance.
        activation: Of the feed-forward network.
        causal: Hide the tokens after each one.
        drop_path: Share of samples that skip a part while training; the others are scaled up.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        feed_forward: int,
        norm_eps: float,
        *,
        activation: Activation = gelu,
        causal: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, num_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = FeedForward(width, feed_forward, activation=activation)
        self.layer_norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.causal, self.drop_path = causal, drop_path

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Update every token."""
        normed = self.layer_norm1(tokens)
        tokens = tokens + self._skip(self.self_attn(normed, normed, causal=self.causal))
        return tokens + self._skip(self.mlp(self.layer_norm2(tokens)))

    def _skip(self, change: Tensor) -> Tensor:
        if not (self.training and self.drop_path):
            return change
        stays = torch.empty((len(change), 1, 1), device=change.device).bernoulli_(1 - self.drop_path)
        return change * (stays / (1 - self.drop_path)).to(change.dtype)
