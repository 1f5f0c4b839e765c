"""Gradient checkpointing: blocks forget what they computed and compute it again in the backward pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. A network then remembers what goes into each of its
blocks instead of everything in them, for the price of a second forward pass.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute_blocks(model: nn.Module) -> int:
    """Make the blocks of a model compute again in the backward pass what they need there; return how many there are.

    A block is a member of a ``ModuleList``, the outermost where lists hold lists. Left out are blocks without parameters and
    those with a batch normalisation, which would count every batch twice. Results are the same, dropout included.
    """
    blocks: list[nn.Module] = []
    _collect(model, blocks)
    for block in blocks:
        block.forward = partial(_forward, block.forward)
    return len(blocks)


def _collect(module: nn.Module, blocks: list[nn.Module]) -> None:
    for child in module.children():
        members = list(child) if isinstance(child, nn.ModuleList) else []
        for member in members:
            counts = any(isinstance(part, _BatchNorm) for part in member.modules())
            if not counts and any(True for _ in member.parameters()):
                blocks.append(member)
        if not members:
            _collect(child, blocks)


def _forward(forward, *arguments, **keywords):  # type: ignore[no-untyped-def]  # whatever a block takes and gives
    if not torch.is_grad_enabled():
        return forward(*arguments, **keywords)
    return checkpoint(forward, *arguments, use_reentrant=False, **keywords)
