"""Optimisers from a model's parameter groups, and the learning rate schedule.

The schedule is a pure function: a factor of the peak learning rate. Steps count from 0 (the first update) to
``num_steps``, which is the value after the last update.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from lexiseg.core.interfaces import ParameterGroup
from lexiseg.engine.settings import OptimSettings


def build_optimizer(groups: Sequence[ParameterGroup], settings: OptimSettings) -> Optimizer:
    """Build the optimiser that the settings name.

    Each group of the result has, beside the optimiser's own entries, ``names`` and ``lr_factor``.
    """
    described: list[dict[str, Any]] = [
        {
            "params": [parameter for _, parameter in group.parameters],
            "names": [name for name, _ in group.parameters],
            "lr_factor": group.lr_factor,
            "weight_decay": settings.weight_decay if group.decayed else 0.0,
        }
        for group in groups
        if group.parameters
    ]
    _check_once(described)
    if settings.optimizer == "lars":
        return LARS(described, lr=settings.lr, momentum=settings.momentum)
    parameters = [parameter for group in described for parameter in group["params"]]
    fused = not any(isinstance(parameter, DTensor) for parameter in parameters)
    return AdamW(described, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=fused)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group to ``lr`` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def named_parameters(optimizer: Optimizer) -> list[tuple[str, nn.Parameter]]:
    """Return the names and parameters that the optimiser updates, in its order."""
    return [
        pair for group in optimizer.param_groups for pair in zip(group["names"], group["params"], strict=True)
    ]


class LARS(Optimizer):
    """Layer-wise adaptive rates with momentum, for very large batches.

    You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017: the rate of each
    matrix is scaled by ``trust * |w| / |g + decay * w|``. As is usual since, vectors (biases, norms) are
    neither scaled nor decayed.

    Args:
        groups: Dicts with ``params`` and ``weight_decay``.
        lr: Learning rate before the scaling.
        momentum: Share of the last update that stays.
        trust: How far a matrix may move relative to its norm; the paper's 0.001.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, momentum: float = 0.9, trust: float = 0.001
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the parameters that have a gradient."""
        assert closure is None, "LARS takes no closure"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return None

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        update = parameter.grad
        assert update is not None
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            size, change = torch.linalg.vector_norm(parameter), torch.linalg.vector_norm(update)
            one = torch.ones_like(size)
            scaled = torch.where((size > 0) & (change > 0), group["trust"] * size / change, one)
            update = update * scaled
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
        parameter.add_(momentum, alpha=-group["lr"])


def _check_once(groups: Sequence[dict[str, Any]]) -> None:
    names = [name for group in groups for name in group["names"]]
    assert names, "nothing to train"
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    assert not twice, f"parameters in two groups: {sorted(twice)}"


def lr_factor(settings: OptimSettings, step: int, num_steps: int) -> float:
    """Return the factor of a step: a linear warm-up, then the schedule's shape.

    The warm-up takes ``floor(warmup_fraction * num_steps)`` steps.
    """
    warmup = warmup_steps(settings.warmup_fraction, num_steps)
    rising = settings.warmup_start + (1 - settings.warmup_start) * step / warmup if step < warmup else 1.0
    if settings.warmup_multiplies:
        return rising * _shape(settings, step / num_steps)
    if step < warmup:
        return rising
    return _shape(settings, (step - warmup) / max(num_steps - warmup, 1))


def _shape(settings: OptimSettings, done: float) -> float:
    if settings.schedule == "cosine":
        return cosine(done, settings.final_factor)
    if settings.schedule == "poly":
        return poly(done, settings.poly_power, settings.final_factor)
    return 1.0


def warmup_steps(fraction: float, num_steps: int) -> int:
    """Return ``floor(fraction * num_steps)``, safe from the rounding of fractions such as 0.29."""
    return math.floor(fraction * num_steps + 1e-9)


def cosine(done: float, final: float) -> float:
    """Return half a cosine from 1 to ``final``; ``done`` goes from 0 to 1."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))


def poly(done: float, power: float, final: float) -> float:
    """Return ``(1 - done) ** power``, stretched to end at ``final``."""
    return final + (1 - final) * (1 - done) ** power
