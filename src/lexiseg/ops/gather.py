"""Gather what is distributed over devices: rows of a batch, counts.

Nothing here starts or ends processes; without ``torch.distributed`` there is one device.
"""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed


def num_devices() -> int:
    """Return the number of devices that train together; 1 outside a distributed run."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_batch(rows: Float[Tensor, "b D"]) -> Float[Tensor, "B D"]:
    """Gather the rows of all devices, in order of their ranks, with gradient.

    The gradient of a device's rows is the sum over all devices' losses. Where every device computes the
    same loss from the gathered rows, and gradients are then averaged over devices, that is exactly the
    gradient of the loss.

    Args:
        rows: This device's share; as many rows on every device.

    Returns:
        All shares; ``rows`` itself where there is one device.
    """
    if num_devices() == 1:
        return rows
    return _Gather.apply(rows)  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        shares = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(num_devices())]
        distributed.all_gather(shares, rows.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed.chunk(num_devices())[distributed.get_rank()]


@torch.no_grad()
def mean_over_devices(values: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    """Average a number over devices, without gradient.

    A loss that divides by a count (of masks, say) divides by its mean over devices instead: the mean of
    the devices' gradients is then the gradient of the whole batch.
    """
    if num_devices() == 1:
        return values.detach()
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total / num_devices()
