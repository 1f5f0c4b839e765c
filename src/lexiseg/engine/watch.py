"""Stop a run at the first NaN or Inf among its losses and gradients."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lexiseg.core.errors import LexisegError
from lexiseg.engine.stages import Losses

#: Sources of a batch that a message names.
_NAMED = 4


class DivergedError(LexisegError, ArithmeticError):
    """A loss or a gradient is NaN or Inf."""


@dataclass(frozen=True, kw_only=True)
class StepValues:
    """The numbers of one step, still on the device.

    Attributes:
        step: Updates done with this one.
        lr: The learning rate it was done with.
        sources: Where the samples of the batch came from.
        num_terms: How many of ``names`` are terms of the loss.
        names: Names of the terms, then of what was observed.
        values: The total, the terms and what was observed, and the norm of the gradient.
        may_be_skipped: Whether a gradient that is not finite is none of our business: fp16 skips such steps.
    """

    step: int
    lr: float
    sources: tuple[str, ...]
    num_terms: int
    names: tuple[str, ...]
    values: Tensor
    may_be_skipped: bool

    @classmethod
    def of(
        cls,
        losses: Losses,
        grad_norm: Tensor,
        *,
        step: int,
        lr: float,
        sources: tuple[str, ...],
        may_be_skipped: bool,
    ) -> "StepValues":
        """Stack the numbers of a step, without waiting for the device."""
        named = {**losses.terms, **losses.observed}
        numbers = [losses.total, *named.values(), grad_norm]
        return cls(
            step=step,
            lr=lr,
            sources=sources,
            num_terms=len(losses.terms),
            names=tuple(named),
            values=torch.stack([number.detach().float() for number in numbers]),
            may_be_skipped=may_be_skipped,
        )

    def check(self) -> list[float]:
        """Return the numbers on the CPU.

        Raises:
            DivergedError: One is not finite; the message names it and the batch.
        """
        numbers = self.values.tolist()
        checked = numbers[:-1] if self.may_be_skipped else numbers
        if all(map(math.isfinite, checked)):
            return numbers
        labels = ["the total", *self.names, "the norm of the gradient"]
        # A term says more than the total that it is a part of.
        order = [*range(1, len(labels)), 0]
        wrong = next(i for i in order if not math.isfinite(numbers[i]))
        first = ", ".join(self.sources[:_NAMED])
        more = f" and {len(self.sources) - _NAMED} more" if len(self.sources) > _NAMED else ""
        raise DivergedError(
            doing=f"training, step {self.step}",
            found=f"{labels[wrong]} = {numbers[wrong]} on the batch of {first}{more}",
            expected="a finite number",
            fix="Look at these samples; then lower optim.lr, set optim.clip_norm, lengthen the warm-up or use "
            "precision bf16 or fp32 instead of fp16. The checkpoints before this step are kept.",
        )
