"""A small network from an encoder's space into a shared one, with a normalisation inside."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn, ones, zeros
from torch.nn.functional import batch_norm


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, named as torch's without its counter of batches.

    Args:
        width: Length of the last axis.
        momentum: Weight of a batch in the running statistics.
        eps: Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(ones(width))
        self.bias = nn.Parameter(zeros(width))
        self.register_buffer("running_mean", zeros(width))
        self.register_buffer("running_var", ones(width))
        self.momentum, self.eps = momentum, eps

    def forward(self, rows: Float[Tensor, "*b D"], *, remembered: bool = True) -> Float[Tensor, "*b D"]:
        """Normalise by the batch's statistics in training and by the running ones in evaluation.

        Args:
            rows: At least two of them in training.
            remembered: Whether the running statistics take this batch in.
        """
        uses_running = remembered or not self.training
        flat = batch_norm(
            rows.reshape(-1, rows.shape[-1]),
            self.running_mean if uses_running else None,
            self.running_var if uses_running else None,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return flat.reshape(rows.shape)


class Projection(nn.Sequential):
    """Into the shared space: linear, normalisation, ReLU, linear. Works on vectors one by one in evaluation.

    In training a batch norm takes in only rows that a gradient goes back to: gradient caching compares the same
    batch a second time, as constants, for the sake of the parameters, and that pass must not count.

    Args:
        width: Length of what comes in.
        hidden: Inner width.
        out: Length of the shared space.
        norm: ``batch`` or ``layer``.
    """

    def __init__(self, width: int, hidden: int, out: int, norm: Literal["batch", "layer"]) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            BatchNorm(hidden) if norm == "batch" else nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, out),
        )

    def forward(self, rows: Float[Tensor, "*b _"]) -> Float[Tensor, "*b _"]:
        """Project the last axis; the result is not normalised."""
        into, norm, activation, out = self
        hidden = into(rows)
        hidden = norm(hidden, remembered=rows.requires_grad) if isinstance(norm, BatchNorm) else norm(hidden)
        return out(activation(hidden))
