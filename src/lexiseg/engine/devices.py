"""The devices of a run: choosing one by name, and what several processes do together. Thin on accelerate and torch."""

import gc
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import distributed, nn

from lexiseg.core.errors import InputError, MissingPackageError
from lexiseg.ops.gather import mean_over_devices


def choose_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` is a GPU when there is one.

    Raises:
        InputError: This torch cannot use it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # "meta" holds no numbers
        raise InputError(
            doing=f"choosing the device {name!r}",
            found=str(error).splitlines()[0],
            expected="a device that this torch can use on this machine, such as cpu",
            fix="Leave it out, or give cpu.",
        ) from error
    return device


@dataclass(frozen=True, kw_only=True)
class Devices:
    """This process's place among those that train together.

    Attributes:
        device: Where this process computes.
        rank: Number of this process.
        world_size: Number of processes.
        parallel: What several processes do with the weights.
        accelerator: accelerate's, where there are several processes.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    accelerator: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are sharded over several devices."""
        return self.world_size > 1 and self.parallel == "fsdp"

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, and wrap it where there are several.

        With ``fsdp`` its parameters are replaced by their shards, block by block: the members of every
        ``ModuleList``, then the rest. Scalars are not sharded: ``average_scalars`` is for them.
        """
        module = module.to(self.device)
        if self.world_size == 1:
            return module
        if self.parallel == "ddp":
            return self.accelerator.prepare_model(module)
        from torch.distributed.fsdp import fully_shard

        scalars = {parameter for parameter in module.parameters() if parameter.ndim == 0}
        lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
        for block in [block for part in reversed(lists) for block in part]:
            if any(True for _ in block.parameters()):
                fully_shard(block, ignored_params=scalars)
        fully_shard(module, ignored_params=scalars)
        return module

    @contextmanager
    def no_sync(self, module: nn.Module, enabled: bool) -> Iterator[None]:
        """Accumulate gradients on this device without synchronising, when ``enabled``: all but the last part of a batch."""
        if not enabled or self.world_size == 1:
            yield
        elif self.parallel == "ddp":
            with module.no_sync():  # type: ignore[operator]
                yield
        else:
            module.set_requires_gradient_sync(False)  # type: ignore[operator]
            try:
                yield
            finally:
                module.set_requires_gradient_sync(True)  # type: ignore[operator]

    def average_scalars(self, module: nn.Module) -> None:
        """Average the gradients of scalars over devices, which FSDP leaves to each."""
        if self.is_sharded:
            for scalar in (parameter for parameter in module.parameters() if parameter.ndim == 0):
                if scalar.grad is not None:
                    scalar.grad = mean_over_devices(scalar.grad)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            self.accelerator.wait_for_everyone()


def open_devices(name: str, parallel: Literal["ddp", "fsdp"]) -> Devices:
    """Find this process's place, which ``torchrun`` or ``accelerate launch`` has written in the environment.

    Raises:
        InputError: The device cannot be used.
        MissingPackageError: There are several processes and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Devices(device=choose_device(name), parallel=parallel)
    if importlib.util.find_spec("accelerate") is None:
        raise MissingPackageError.of("accelerate", doing="training on several devices", extra="train")
    from accelerate import Accelerator

    on_cpu = name == "cpu" or not torch.cuda.is_available()
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
    return Devices(
        device=accelerator.device,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        parallel=parallel,
        accelerator=accelerator,
    )


def close_devices() -> None:
    """Leave the group of processes, where there is one; a process does this once, when it is done."""
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # wrappers in circles hold on to the group, whose threads then outlive it
        distributed.destroy_process_group()
