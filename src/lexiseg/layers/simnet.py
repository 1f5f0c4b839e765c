"""SimNet: do two pixels show the same class?

Chen et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer", NeurIPS 2022. Three
residual blocks and a head read the concatenation of two pixel embeddings, for every pair of a grid.
595,202 parameters at width 256.

Difference from the paper: none in what is computed. The first layer of a concatenation is a sum,
``W [a; b] = W_a a + W_b b``, so it is applied to the ``I + J`` pixels instead of the ``I * J`` pairs
and added afterwards: at width 256 this leaves out 44 % of the multiplications.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

_NUM_BLOCKS = 3


class SimNet(nn.Module):
    """Pairs of pixel embeddings to the logit of "same class". Not symmetric in its two arguments.

    Args:
        embedding_width: Channels of a pixel embedding.
        width: Channels of the blocks; None for the embedding's.
    """

    def __init__(self, embedding_width: int = 256, width: int | None = None) -> None:
        super().__init__()
        width = width or embedding_width
        self.blocks = nn.ModuleList(
            [_PairBlock(embedding_width, width), *(_Block(width) for _ in range(_NUM_BLOCKS - 1))]
        )
        self.head = nn.Linear(width, 2)

    def forward(
        self, first: Float[Tensor, "P I D"], second: Float[Tensor, "P J D"]
    ) -> Float[Tensor, "P I J"]:
        """Compare every pixel of ``first`` with every pixel of ``second``.

        In training mode the normalisation takes its statistics from all pairs of the call.

        Returns:
            Logits: the sigmoid is the probability of "same class", equal to the second entry of the
            head's softmax. Memory grows with ``P * I * J``.
        """
        maps = self.blocks[0](first, second)
        for block in self.blocks[1:]:
            maps = block(maps)
        different, same = self.head(maps).unbind(-1)
        return same - different


@contextmanager
def as_teacher(simnet: SimNet) -> Iterator[SimNet]:
    """Return a SimNet that teaches: no gradient, and normalised by what it learnt, not by the call's pairs.

    Statistics of the call would say of any set of pairs that about as many are alike as were alike in
    training, whatever they show.
    """
    was_training = simnet.training
    simnet.eval()
    try:
        with torch.no_grad():
            yield simnet
    finally:
        simnet.train(was_training)


class _PairBlock(nn.Module):
    """The first block: reads the concatenation ``[first; second]`` without building it."""

    def __init__(self, embedding_width: int, width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(2 * embedding_width, width)
        self.widen_norm = nn.BatchNorm1d(width)
        self.mix = nn.Linear(width, width)
        self.mix_norm = nn.BatchNorm1d(width)
        self.skip = nn.Linear(2 * embedding_width, width)

    def forward(
        self, first: Float[Tensor, "P I D"], second: Float[Tensor, "P J D"]
    ) -> Float[Tensor, "P I J C"]:
        maps = F.relu(_normalised(_of_concatenation(self.widen, first, second), self.widen_norm))
        maps = F.relu(_normalised(self.mix(maps), self.mix_norm))
        return maps + F.relu(_of_concatenation(self.skip, first, second))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, width)
        self.widen_norm = nn.BatchNorm1d(width)
        self.mix = nn.Linear(width, width)
        self.mix_norm = nn.BatchNorm1d(width)

    def forward(self, maps: Float[Tensor, "P I J C"]) -> Float[Tensor, "P I J C"]:
        mixed = F.relu(_normalised(self.widen(maps), self.widen_norm))
        return maps + F.relu(_normalised(self.mix(mixed), self.mix_norm))


def _of_concatenation(
    linear: nn.Linear, first: Float[Tensor, "P I D"], second: Float[Tensor, "P J D"]
) -> Float[Tensor, "P I J C"]:
    for_first, for_second = linear.weight.chunk(2, dim=1)
    of_first = F.linear(first, for_first, linear.bias)
    return of_first[:, :, None] + F.linear(second, for_second)[:, None]


def _normalised(maps: Float[Tensor, "P I J C"], norm: nn.BatchNorm1d) -> Float[Tensor, "P I J C"]:
    rows = norm(rearrange(maps, "p i j c -> (p i j) c"))
    return rows.view(maps.shape)
