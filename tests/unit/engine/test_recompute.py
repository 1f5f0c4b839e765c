"""Gradient checkpointing: the same gradients, with less to remember."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from lexiseg.engine.recompute import recompute_blocks
from lexiseg.engine.seeding import seed_all
from lexiseg.layers.transformer_block import TransformerBlock


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerBlock(8, 2, norm_first=True, norm_eps=1e-6, drop_rate=0.3) for _ in range(3)
        )
        self.stages = nn.ModuleList([nn.ModuleList([nn.Linear(8, 8)]), nn.ModuleList([nn.ReLU()])])
        self.norms = nn.ModuleList([nn.BatchNorm1d(8)])

    def forward(self, tokens):
        for block in self.blocks:
            tokens = block(tokens)
        for stage in self.stages:
            for layer in stage:
                tokens = layer(tokens)
        return self.norms[0](tokens.mean(1))


@contextmanager
def remembered():
    """Count the numbers that are kept for the backward pass."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


@pytest.mark.parametrize("mode", [True, False])
def test_gradients_are_the_same_with_dropout_and_less_is_remembered(mode):
    found = []
    for recomputed in (False, True):
        seed_all(0)
        net = Net().train(mode)
        if recomputed:
            assert recompute_blocks(net) == 4  # neither the ReLU nor what counts batches
        names = list(net.state_dict())
        seed_all(1)
        with remembered() as kept:
            loss = net(torch.linspace(0, 1, 4 * 5 * 8).reshape(4, 5, 8)).square().sum()
        loss.backward()
        found.append((names, loss, [p.grad for p in net.parameters()], list(net.buffers()), sum(kept)))
    (names, loss, gradients, buffers, much), (others, again, recomputed, counted, little) = found
    assert names == others
    assert torch.equal(loss, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, recomputed, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, counted, strict=True))
    assert little < much / 2
