"""What the engine asks of a model, as forward passes, so that wrappers for many devices see all of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.batch import Batch
from lexiseg.core.interfaces import ContrastiveTrainable, Trainable
from lexiseg.core.loss_terms import LossTerms


class Losses(NamedTuple):
    """A step's loss: plain containers of tensors, which the wrappers can look into.

    Attributes:
        total: What is minimised.
        terms: Terms of the loss before weighting.
        observed: What else is logged.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    observed: dict[str, Float[Tensor, ""]]

    @classmethod
    def of(cls, terms: LossTerms) -> "Losses":
        """Build from the terms of a model's loss."""
        return cls(terms.total(), dict(terms.terms), dict(terms.observed))

    @classmethod
    def mean(cls, parts: Sequence["Losses"], weights: Sequence[float]) -> "Losses":
        """Average over parts of a batch, without gradient."""

        def over(values: Sequence[Tensor]) -> Tensor:
            return torch.stack([v.detach().float() * w for v, w in zip(values, weights, strict=True)]).sum()

        return cls(
            over([part.total for part in parts]),
            {name: over([part.terms[name] for part in parts]) for name in parts[0].terms},
            {name: over([part.observed[name] for part in parts]) for name in parts[0].observed},
        )


class Stages(nn.Module):
    """A model whose forward pass is whichever stage of a step is asked for.

    Args:
        model: What is trained; the stages other than ``loss`` need a ``ContrastiveTrainable``.
    """

    def __init__(self, model: Trainable) -> None:
        super().__init__()
        self.model = model

    def forward(self, stage: str, *arguments: Any) -> Any:
        """Do ``loss``, ``embed``, ``compare`` or ``product``."""
        return getattr(self, stage)(*arguments)

    def loss(self, batch: Batch) -> Losses:
        """Compute the loss of a batch."""
        return Losses.of(self.model(batch))

    def embed(self, batch: Batch) -> tuple[Float[Tensor, "b D"], Float[Tensor, "b E"]]:
        """Embed images and captions."""
        return self._contrastive.embed(batch)

    def compare(self, rows: tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]]) -> Losses:
        """Compute the loss of a whole batch of embeddings."""
        return Losses.of(self._contrastive.contrast(*rows))

    def product(
        self,
        batch: Batch,
        gradients: tuple[Float[Tensor, "b D"], Float[Tensor, "b E"]],
        compared: tuple[Float[Tensor, "B D"], Float[Tensor, "B E"]] | None,
    ) -> Float[Tensor, ""]:
        """Embed, and multiply with the gradients of the embeddings, held constant.

        Args:
            batch: A part of a batch.
            gradients: Gradients of the loss with respect to the part's embeddings.
            compared: The whole batch's embeddings, to add the loss as a function of the comparison's own
                parameters (a temperature); None for all but one of the parts.
        """
        rows = self._contrastive.embed(batch)
        product = (gradients[0] * rows[0]).float().sum() + (gradients[1] * rows[1]).float().sum()
        if compared is not None:
            product = product + self._contrastive.contrast(*compared).total()
        return product

    @property
    def _contrastive(self) -> ContrastiveTrainable:
        return cast(ContrastiveTrainable, self.model)
