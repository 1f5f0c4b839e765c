"""Tensors of which each device has a part, as one tensor and back."""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Give a tensor that lies apart on several devices as one; all processes call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_whole(source: Tensor, target: Tensor) -> None:
    """Copy a whole tensor, the same on all processes, into one that may lie apart."""
    if isinstance(target, DTensor):
        source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements)
    with torch.no_grad():
        target.copy_(source)
