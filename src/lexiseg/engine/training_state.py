"""Everything that changes while a model is trained: one step of it, and to and from a checkpoint."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lexiseg.core.batch import Batch
from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.interfaces import Trainable
from lexiseg.engine.best import LAST, BestWeights
from lexiseg.engine.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from lexiseg.engine.devices import Devices
from lexiseg.engine.ema import WeightAverage
from lexiseg.engine.from_main import read_on_main
from lexiseg.engine.gradients import build_gradients
from lexiseg.engine.optim import build_optimizer, lr_factor, named_parameters, set_lr
from lexiseg.engine.recompute import recompute_blocks
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.engine.stages import Losses
from lexiseg.engine.watch import StepValues
from lexiseg.engine.weights import (
    full_tensor,
    gathered,
    load_average,
    load_optimizer,
    load_tensors,
    model_tensors,
    optimizer_tensors,
)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingState:
    """A model, its optimiser and what goes with them.

    Args:
        model: Is moved to the device.
        optim: How it is optimised.
        run: How the run goes.
        devices: Where.

    Attributes:
        step: Updates done.
        best: The weights of the best evaluation so far.
    """

    def __init__(self, model: Trainable, optim: OptimSettings, run: RunSettings, devices: Devices) -> None:
        self.model, self.optim, self.run, self.devices = model, optim, run, devices
        self.step = 0
        if run.gradient_checkpointing:
            recompute_blocks(model)
        share = run.batch_size // devices.world_size
        self.gradients = build_gradients(model, devices, run.sub_batch_size, share)
        self.best = BestWeights(run.final, devices)
        self.optimizer = build_optimizer(model.parameter_groups(), optim)
        self.parameters = [parameter for _, parameter in named_parameters(self.optimizer)]
        self.average = (
            WeightAverage(named_parameters(self.optimizer), optim.ema_decay) if optim.ema_decay else None
        )
        self.scaler = torch.amp.GradScaler(devices.device.type, enabled=run.precision == "fp16")

    def update(self, batch: Batch) -> StepValues:
        """Do one step on this device's share of the batch; does not wait for the device."""
        lr = self.optim.lr * lr_factor(self.optim, self.step, self.run.num_steps)
        set_lr(self.optimizer, lr)
        while (losses := self._losses(batch)) is None:
            self._halve_parts(len(batch))
        self.devices.average_scalars(self.model)
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        return StepValues.of(
            losses,
            norm,
            step=self.step,
            lr=lr,
            sources=batch.sources,
            may_be_skipped=self.scaler.is_enabled(),
        )

    def _losses(self, batch: Batch) -> Losses | None:
        """Find the gradients of a batch; None where the device has too little memory, and nothing has changed then."""
        self.optimizer.zero_grad(set_to_none=True)
        seed_key = (self.run.seed, self.step, self.devices.rank)
        counted = [
            (value, value.clone())
            for module in self.model.modules()
            if isinstance(module, _BatchNorm)
            for value in module.buffers()
        ]
        try:
            return self.gradients.add(batch, seed_key, self._autocast, self._backward)
        except torch.OutOfMemoryError as error:
            size = self.gradients.sub_batch_size
            if size == 1 or self.devices.world_size > 1:
                raise InputError(
                    doing=f"training step {self.step + 1} in parts of {size}",
                    found=str(error).partition(". ")[0],
                    expected="memory for a part of a batch" + (" on every device" if size > 1 else ""),
                    fix=f"Set --run.sub-batch-size {max(1, size // 2)}, --run.gradient-checkpointing or "
                    "--run.precision bf16, or take smaller images. Several "
                    "devices do not halve parts by themselves. --resume goes on with such a change.",
                ) from error
        # The traceback, which holds what the step had made, is gone here.
        for value, before in counted:
            value.copy_(before)
        return None

    def _halve_parts(self, share: int) -> None:
        """Go on in parts of half the size: for contrastive losses and means over samples, the same gradients."""
        size = (self.gradients.sub_batch_size + 1) // 2
        warnings.warn(
            f"parts of {self.gradients.sub_batch_size:,} do not fit into the memory of {self.devices.device}: going on in "
            f"parts of {size:,}, as --run.sub-batch-size {size} does from the start.",
            stacklevel=3,
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients = build_gradients(self.model, self.devices, size, share)
        if self.devices.device.type == "cuda":
            torch.cuda.empty_cache()

    def save(self, folder: Path) -> None:
        """Write a checkpoint; all processes call this."""
        keep = self.devices.is_main
        tensors = {
            "model": gathered(model_tensors(self.model), keep),
            "optimizer": gathered(optimizer_tensors(self.optimizer), keep),
        }
        if self.average is not None:
            tensors["average"] = gathered(self.average.state(), keep)
        if keep:
            state: dict[str, Any] = {"scaler": self.scaler.state_dict()}
            if self.best.facts is not None:
                tensors["best"], state["best"] = self.best.tensors, self.best.facts
            write_checkpoint(folder, self.step, tensors, state, self.run.keep_checkpoints)
        self.devices.wait()

    def load(self, folder: Path, step: int) -> None:
        """Load what was saved after a step; the main process reads it, and all processes call this.

        Raises:
            CheckpointError: The checkpoint is damaged, or of another model.
        """
        tensors, state = read_on_main(self.devices, lambda: read_checkpoint(folder, step))
        path = checkpoint_path(folder, step)
        load_tensors(self.model, tensors["model"], path / "model.safetensors")
        load_optimizer(self.optimizer, tensors["optimizer"], path / "optimizer.safetensors")
        if self.average is not None:
            load_average(self.average, tensors.get("average", {}), path / "average.safetensors")
        self.best.load(tensors.get("best", {}), state.get("best"), str(path))
        if self.scaler.is_enabled():
            try:
                self.scaler.load_state_dict(state["scaler"])
            except (KeyError, TypeError, RuntimeError) as error:
                raise CheckpointError(
                    doing=f"reading the checkpoint {path}",
                    found=f"no usable scale of the loss ({type(error).__name__}: {error})",
                    expected="what lexiseg train wrote there with precision fp16",
                    fix=f"Delete the folder {path.name} to go on from the checkpoint before it.",
                ) from error
        self.step = step

    def tensors_to_end_with(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the weights that the run is for, on the main process, and what is to be said of them."""
        if self.run.final != LAST and self.best.facts is not None:
            return self.best.tensors, {"step": self.best.facts["step"], "weights": "best"}
        facts = {"step": self.step, "weights": "last" if self.average is None else "average"}
        return self.final_tensors(), facts

    def final_tensors(self, *, everywhere: bool = False) -> dict[str, Tensor]:
        """Return the weights to use, running means where there are any; empty but on the main process, or everywhere."""
        tensors = dict(model_tensors(self.model))
        if self.average is not None:
            tensors.update(self.average.state())
        return gathered(tensors, everywhere or self.devices.is_main)

    def _autocast(self) -> AbstractContextManager:
        dtype = _DTYPES.get(self.run.precision)
        return nullcontext() if dtype is None else torch.autocast(self.devices.device.type, dtype)

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def _clip(self) -> Tensor:
        """Return the norm of the gradient before clipping, and clip it."""
        updated = [parameter for parameter in self.parameters if parameter.grad is not None]
        # Sharded tensors and plain ones cannot be handled in one call.
        kinds = [[p for p in updated if isinstance(p, DTensor) is sharded] for sharded in (False, True)]
        norms = [
            full_tensor(get_total_norm([p.grad for p in kind if p.grad is not None]))
            for kind in kinds
            if kind
        ]
        norm = torch.linalg.vector_norm(torch.stack(norms)) if len(norms) > 1 else norms[0]
        if self.optim.clip_norm is not None:
            for kind in kinds:
                clip_grads_with_norm_(kind, self.optim.clip_norm, norm)
        return norm
