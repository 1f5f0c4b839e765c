"""A transformer block: self-attention and a feed-forward part, normalised before or after."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention


class TransformerBlock(nn.Module):
    """Self-attention of all tokens and a feed-forward network, each added to what came in.

    Args:
        width: Length of a token.
        num_heads: Divides ``width``.
        norm_first: Normalise what goes into each part (vision transformers) or what comes out of each sum
            (BERT).
        norm_eps: Added to the variance by the normalisation.
        drop_rate: Dropout of attention weights and of each part's result, while training.
        feed_forward: Inner width of the feed-forward network; four times the width by default.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        norm_first: bool,
        norm_eps: float,
        drop_rate: float = 0.0,
        feed_forward: int | None = None,
    ) -> None:
        super().__init__()
        assert width % num_heads == 0, f"{num_heads} heads do not divide a width of {width}"
        self.num_heads = num_heads
        self.norm_first = norm_first
        self.drop_rate = drop_rate
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=norm_eps)
        self.feed_forward_in = nn.Linear(width, feed_forward or 4 * width)
        self.feed_forward_out = nn.Linear(feed_forward or 4 * width, width)

    def forward(
        self, tokens: Float[Tensor, "B N D"], seen: Bool[Tensor, "B 1 1 N"] | None = None
    ) -> Float[Tensor, "B N D"]:
        """Update every token.

        Args:
            tokens: One row a token.
            seen: True for tokens that the others attend to; None for all. A token that is not seen still
                attends to the others.
        """
        if self.norm_first:
            tokens = tokens + self._attend(self.attention_norm(tokens), seen)
            return tokens + self._feed_forward(self.feed_forward_norm(tokens))
        tokens = self.attention_norm(tokens + self._attend(tokens, seen))
        return self.feed_forward_norm(tokens + self._feed_forward(tokens))

    def _attend(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = rearrange(
            self.query_key_value(tokens),
            "b n (part heads d) -> part b heads n d",
            part=3,
            heads=self.num_heads,
        )
        rate = self.drop_rate if self.training else 0.0
        attended = scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate)
        return self._drop(self.attention_out(rearrange(attended, "b heads n d -> b n (heads d)")))

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        return self._drop(self.feed_forward_out(gelu(self.feed_forward_in(tokens))))

    def _drop(self, tokens: Tensor) -> Tensor:
        return dropout(tokens, self.drop_rate, self.training) if self.drop_rate else tokens


def initialise_linear(module: nn.Module, std: float) -> None:
    """Draw the weights of linear layers from a normal distribution cut off at two deviations; biases are zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)
