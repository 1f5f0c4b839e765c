"""Record where the words of a prompt land in an image while it is being generated.

The cross-attention of a diffusion network says, for every place and head, how much each token of the
prompt counts there. Aggregated as DAAM does (Tang et al., "What the DAAM", ACL 2023): the conditional half
only, all layers but those at an eighth of the latent's side, mean over steps, heads and layers. Each
(layer, head) map has the same weight. RIM's paper says only that such a map is used; this choice is ours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

#: Layers whose maps have this part of the latent's side are too coarse to say where.
_TOO_COARSE = 8


class CrossAttentionRecorder:
    """Sums of the attention to some tokens, kept for every layer and head.

    Args:
        tokens: Positions in the prompt.
        latent_size: ``(h, w)`` of the latent image.
    """

    def __init__(self, tokens: Sequence[int], latent_size: tuple[int, int]) -> None:
        self.tokens = list(tokens)
        self.latent_size = latent_size
        self.sums: dict[str, Float[Tensor, "heads h w"]] = {}
        self.steps: dict[str, int] = {}

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Watch every cross-attention layer (``attn2``) of a network; its output does not change."""
        layers = [(name, layer) for name, layer in network.named_modules() if name.endswith(".attn2")]
        assert layers, "no cross-attention layer found"
        handles = [
            layer.register_forward_pre_hook(self._hook(name), with_kwargs=True) for name, layer in layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def heat_map(self) -> Float[Tensor, "h w"]:
        """Return the mean attention to the tokens at the latent's size, not normalised.

        The mean over tokens, steps, heads and layers, of which the coarse ones are left out (unless
        there are no others).
        """
        height, width = self.latent_size
        fine = [name for name, maps in self.sums.items() if maps.shape[1] * _TOO_COARSE > height]
        total, count = torch.zeros(height, width), 0
        for name in fine or self.sums:
            maps = rearrange(self.sums[name] / self.steps[name], "heads h w -> heads 1 h w")
            resized = interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
            total += reduce(resized, "heads 1 h w -> h w", "sum").cpu()
            count += len(maps)
        return total / count

    def _hook(self, name: str) -> Any:
        def record(layer: Any, arguments: tuple, words: dict) -> None:
            hidden = arguments[0] if arguments else words["hidden_states"]
            texts = words["encoder_hidden_states"]
            # The batch is (unconditional, conditional): the second half saw the prompt.
            maps = self._attention(layer, hidden[len(hidden) // 2 :], texts[len(texts) // 2 :])
            self.sums[name] = self.sums[name] + maps if name in self.sums else maps
            self.steps[name] = self.steps.get(name, 0) + 1

        return record

    def _attention(self, layer: Any, hidden: Tensor, texts: Tensor) -> Float[Tensor, "heads h w"]:
        """Compute the attention probabilities of the tokens, averaged over the tokens."""
        query, key = (
            rearrange(part, "1 n (heads d) -> heads n d", heads=layer.heads).float()
            for part in (layer.to_q(hidden), layer.to_k(texts))
        )
        shares = (torch.einsum("hnd,hld->hnl", query, key) * layer.scale).softmax(dim=2)
        height, width = self.latent_size
        ratio = (height * width / shares.shape[1]) ** 0.5
        grid = {"h": round(height / ratio), "w": round(width / ratio)}
        return reduce(shares[:, :, self.tokens], "heads (h w) l -> heads h w", "mean", **grid)
