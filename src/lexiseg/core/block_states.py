"""BlockStates: a vision transformer opened before its last block, for heads that attend there in another way.

The network does not leave its file: whoever holds the states asks ``LastBlock`` for queries, keys and values, mixes
values as a rule of ``ops`` says, and hands the mixture back.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor


class LastBlock(ABC):
    """The last block of a vision transformer whose tokens end in the space of texts.

    Attributes:
        scale: Factor of the dot products of queries and keys, ``d**-0.5`` for heads of ``d`` channels.
    """

    scale: float

    @abstractmethod
    def queries_keys_values(
        self, states: Float[Tensor, "B T W"]
    ) -> tuple[Float[Tensor, "B A T d"], Float[Tensor, "B A T d"], Float[Tensor, "B A T d"]]:
        """Compute what the block's attention works on, by head; its first layer norm is applied inside."""

    @abstractmethod
    def keys_values(
        self, states: Float[Tensor, "B T W"]
    ) -> tuple[Float[Tensor, "B A T d"], Float[Tensor, "B A T d"]]:
        """Compute keys and values alone, by head; the first layer norm is applied inside."""

    @abstractmethod
    def values(self, states: Float[Tensor, "B T W"]) -> Float[Tensor, "B A T d"]:
        """Compute the values alone, by head; the first layer norm is applied inside."""

    @abstractmethod
    def output(self, attended: Float[Tensor, "B A N d"]) -> Float[Tensor, "B N W"]:
        """Join the heads and apply the output projection, whose bias is added once. No residual, no MLP."""

    @abstractmethod
    def complete(
        self, states: Float[Tensor, "B N W"], attended: Float[Tensor, "B A N d"]
    ) -> Float[Tensor, "B N W"]:
        """Finish the block as it was trained: ``output`` with the residual, then the MLP with its own."""

    @abstractmethod
    def project(self, tokens: Float[Tensor, "B N W"]) -> Float[Tensor, "B N E"]:
        """Apply the last layer norm and the projection into the space of texts."""

    @abstractmethod
    def carry_copies(
        self, states: Sequence[Float[Tensor, "B T W"]], allowed: Bool[Tensor, "B M T"]
    ) -> Float[Tensor, "B M W"]:
        """Carry copies of the input class token through all blocks, each seeing what it is allowed to see.

        A copy attends to the real tokens of every block's input, never to itself or another copy, and nothing attends
        to it.

        Args:
            states: Input of every block, the first included.
            allowed: Tokens that each of ``M`` copies attends to; at least one each.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockStates:
    """A batch of images up to the last block. The class token is row 0 of every state.

    Attributes:
        states: Tokens before the first block, then after each block but the last: ``states[b]`` is what block ``b + 1``
            reads. As many as there are blocks.
        grid: Patches in raster order, ``(h, w)``.
        stride: Pixels per patch.
        block: The last block.
    """

    states: tuple[Float[Tensor, "B T W"], ...] = field(repr=False)
    grid: tuple[int, int]
    stride: int
    block: LastBlock

    @property
    def last(self) -> Float[Tensor, "B T W"]:
        """Return the input of the last block."""
        return self.states[-1]

    @property
    def num_blocks(self) -> int:
        """Return the number of blocks."""
        return len(self.states)
