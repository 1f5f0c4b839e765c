"""Weights, optimiser state and running means as named tensors, sharded or not, and back."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lexiseg.core.errors import CheckpointError
from lexiseg.engine.ema import WeightAverage
from lexiseg.engine.optim import named_parameters


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one; all processes call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_full(source: Tensor, target: Tensor) -> None:
    """Copy a full tensor, the same on all processes, into one that may be sharded."""
    if isinstance(target, DTensor):
        source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements)
    with torch.no_grad():
        target.copy_(source)


#: Between a parameter's name and the name of an entry of its optimiser state.
_BETWEEN = "|"


def model_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and persistent buffers by name; what has two names (tied weights) by its first."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Copy tensors, parts on other devices included, to the CPU, where ``keep``; all processes call this."""
    copies = ((name, full_tensor(tensor.detach())) for name, tensor in tensors.items())
    return {name: copy.cpu() for name, copy in copies if keep}


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy named tensors into a module.

    Raises:
        CheckpointError: Names or shapes differ, or numbers are not finite.
    """
    there = model_tensors(module)
    _check_same({n: t.shape for n, t in tensors.items()}, {n: t.shape for n, t in there.items()}, source)
    for name, target in there.items():
        if not tensors[name].isfinite().all() and full_tensor(target).isfinite().all():
            raise _other(source, f"numbers in {name} that are not finite", "finite weights")
        copy_full(tensors[name], target)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state by ``parameter|entry``."""
    return {
        f"{name}{_BETWEEN}{entry}": value
        for name, parameter in named_parameters(optimizer)
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy named state into an optimiser that has made no step yet.

    Raises:
        CheckpointError: It is the state of other parameters.
    """
    parameters = dict(named_parameters(optimizer))
    foreign = {key.rpartition(_BETWEEN)[0] for key in tensors} - parameters.keys()
    if foreign:
        raise _other(source, f"state of the parameters {_few(foreign)}", "parameters that are trained")
    fused = {id(p) for group in optimizer.param_groups if group.get("fused") for p in group["params"]}
    for key, value in tensors.items():
        name, _, entry = key.rpartition(_BETWEEN)
        parameter = parameters[name]
        if value.shape == parameter.shape and value.ndim:
            target = torch.zeros_like(parameter, dtype=value.dtype)
            copy_full(value, target)
        else:
            target = value.to(parameter.device) if id(parameter) in fused else value
        optimizer.state[parameter][entry] = target


def load_average(average: WeightAverage, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy named means into a running mean of weights.

    Raises:
        CheckpointError: It is the mean of other parameters.
    """
    means = average.state()
    _check_same({n: t.shape for n, t in tensors.items()}, {n: t.shape for n, t in means.items()}, source)
    for name, target in means.items():
        copy_full(tensors[name], target)


def _check_same(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size], source: Path) -> None:
    if missing := expected.keys() - found.keys():
        raise _other(source, f"no {_few(missing)}", "every weight of the model")
    if foreign := found.keys() - expected.keys():
        raise _other(
            source, f"{_few(foreign)}, which the model does not have", "the weights of the model only"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise _other(source, f"{name} of shape {tuple(found[name])}", f"shape {tuple(shape)}")


def _few(names: set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def _other(source: Path, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        doing=f"loading {source}",
        found=found,
        expected=expected,
        fix="These are the weights of another model, or of another version of it: use the recipe they were made with.",
    )
