"""A running mean of the weights, which often does better than the last weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving mean of the trained parameters.

    The decay grows with the number of updates ``n`` as ``(1 + n) / (10 + n)`` up to the one that was
    asked for, so that the first weights, which are random, are soon forgotten.

    Args:
        parameters: Names and parameters to average.
        decay: How much of the mean stays at each update.
    """

    def __init__(self, parameters: Sequence[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in parameters]
        self.parameters: list[Tensor] = [parameter for _, parameter in parameters]
        self.means: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Move the mean towards the present weights, after update number ``num_updates`` (from 1)."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(self.means, self.parameters, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Return the mean of each parameter by name."""
        return dict(zip(self.names, self.means, strict=True))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Put the means in the place of the parameters, and the parameters back at the end."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, mean in zip(self.parameters, self.means, strict=True):
            kept = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(kept)
