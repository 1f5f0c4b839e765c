"""FrozenBatchNorm: batch normalisation whose statistics and affine parameters stay as they were loaded."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FrozenBatchNorm(nn.Module):
    """A fixed scale and shift a channel, in the tensors of a trained ``BatchNorm2d``.

    What detection and segmentation networks do with a classifier's batch normalisation: a few crops a
    device are too few to estimate statistics from. Nothing in it is trained, in either mode.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Scale and shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return torch.addcmul(shift[:, None, None], maps, scale[:, None, None])


def freeze_batch_norms(network: nn.Module) -> None:
    """Put ``FrozenBatchNorm`` with the same tensors in the place of every ``BatchNorm2d``."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            frozen = FrozenBatchNorm(module.num_features, eps=module.eps)
            for tensor in ("weight", "bias", "running_mean", "running_var"):
                setattr(frozen, tensor, getattr(module, tensor).detach())
            owner, _, own_name = name.rpartition(".")
            setattr(network.get_submodule(owner), own_name, frozen)
