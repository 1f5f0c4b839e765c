"""MaskDecoder: learned queries look at an image's features and become proposals.

The decoder half of Carion et al., "End-to-End Object Detection with Transformers" (DETR), ECCV 2020, as
MaskFormer (NeurIPS 2021) uses it: no encoder, post-norm layers, every layer's answer kept.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, relu, scaled_dot_product_attention


class MaskDecoder(nn.Module):
    """Feature map to proposal embeddings, after every layer.

    A query's learned embedding is its position and is added at every attention, to the queries and, among
    themselves, to the keys. Where a feature is in the image is added to the keys only. A proposal starts at
    zero, or at a learned embedding of its own: Mask2Former's query features (Cheng et al., CVPR 2022).

    Args:
        channels: Channels of the feature map; projected to ``width`` where they differ.
        num_queries: Proposals an image.
        width: Channels of a proposal's embedding.
        num_layers: One or more.
        num_heads: Divides ``width``.
        feedforward: Hidden units of each layer's two-layer network.
        dropout_rate: In training, on attention weights, hidden units and whatever is added.
        learned_start: Start the proposals at learned embeddings instead of zero.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_queries: int = 100,
        width: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward: int = 2048,
        dropout_rate: float = 0.1,
        learned_start: bool = False,
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()
        self.queries = nn.Embedding(num_queries, width)
        self.start = nn.Embedding(num_queries, width) if learned_start else None
        self.layers = nn.ModuleList(
            _DecoderLayer(width, num_heads, feedforward, dropout_rate) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "L B Q D"]:
        """Return the normalised proposals of every layer; what goes on to the next is not normalised."""
        memory = self.project(maps)
        places = rearrange(sine_positions(memory), "d h w -> (h w) d")
        memory = rearrange(memory, "b d h w -> b (h w) d")
        placed = memory + places
        identities = self.queries.weight
        start = torch.zeros_like(identities) if self.start is None else self.start.weight
        proposals = start.expand(len(memory), -1, -1)
        answers = []
        for layer in self.layers:
            proposals = layer(proposals, identities, memory, placed)
            answers.append(proposals)
        return self.norm(torch.stack(answers))


def sine_positions(maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "D h w"]:
    """Describe every position by sines of its row (first half) and column, both scaled to (0, 2π].

    ``D`` is a multiple of four. The wavelengths are those of "Attention Is All You Need", base 10,000.
    """
    _, width, height, columns = maps.shape
    pairs = torch.arange(width // 4, dtype=torch.float32, device=maps.device)
    wavelengths = 10_000 ** (4 * pairs / width)

    def waves(size: int) -> Float[Tensor, "n half"]:
        steps = torch.arange(1, size + 1, dtype=torch.float32, device=maps.device)
        angles = (steps / (size + 1e-6) * (2 * torch.pi))[:, None] / wavelengths
        return rearrange([angles.sin(), angles.cos()], "two n pair -> n (pair two)")

    rows = rearrange(waves(height), "h d -> d h 1").expand(-1, -1, columns)
    across = rearrange(waves(columns), "w d -> d 1 w").expand(-1, height, -1)
    return torch.cat([rows, across]).to(maps.dtype)


class _DecoderLayer(nn.Module):
    """Queries among themselves, queries to the image, a network each; normalised after adding."""

    def __init__(self, width: int, num_heads: int, feedforward: int, dropout_rate: float) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        self.among = _Attention(width, num_heads, dropout_rate)
        self.among_norm = nn.LayerNorm(width)
        self.to_image = _Attention(width, num_heads, dropout_rate)
        self.to_image_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, feedforward)
        self.narrow = nn.Linear(feedforward, width)
        self.network_norm = nn.LayerNorm(width)

    def forward(
        self,
        proposals: Float[Tensor, "B Q D"],
        identities: Float[Tensor, "Q D"],
        memory: Float[Tensor, "B N D"],
        placed: Float[Tensor, "B N D"],
    ) -> Float[Tensor, "B Q D"]:
        asking = proposals + identities
        proposals = self.among_norm(proposals + self._drop(self.among(asking, asking, proposals)))
        seen = self.to_image(proposals + identities, placed, memory)
        proposals = self.to_image_norm(proposals + self._drop(seen))
        changed = self.narrow(self._drop(relu(self.widen(proposals))))
        return self.network_norm(proposals + self._drop(changed))

    def _drop(self, values: Float[Tensor, "B Q _"]) -> Float[Tensor, "B Q _"]:
        return dropout(values, self.dropout_rate, self.training)


class _Attention(nn.Module):
    """Multi-head attention whose keys and values come from different tensors."""

    def __init__(self, width: int, num_heads: int, dropout_rate: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B N D"],
        values: Float[Tensor, "B N D"],
    ) -> Float[Tensor, "B Q D"]:
        asked, offered, told = (
            rearrange(layer(tokens), "b n (m d) -> b m n d", m=self.num_heads)
            for layer, tokens in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        rate = self.dropout_rate if self.training else 0.0
        seen = scaled_dot_product_attention(asked, offered, told, dropout_p=rate)
        return self.out(rearrange(seen, "b m q d -> b q (m d)"))
