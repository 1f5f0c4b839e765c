"""Everything that changes while a model is trained: one step of it, and to and from a checkpoint."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lexiseg.core.batch import Batch
from lexiseg.core.errors import CheckpointError
from lexiseg.core.interfaces import Trainable
from lexiseg.engine.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from lexiseg.engine.devices import Devices
from lexiseg.engine.ema import WeightAverage
from lexiseg.engine.from_main import read_on_main
from lexiseg.engine.gradients import build_gradients
from lexiseg.engine.optim import build_optimizer, lr_factor, named_parameters, set_lr
from lexiseg.engine.settings import OptimSettings, RunSettings
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
    """

    def __init__(self, model: Trainable, optim: OptimSettings, run: RunSettings, devices: Devices) -> None:
        self.model, self.optim, self.run, self.devices = model, optim, run, devices
        self.step = 0
        share = run.batch_size // devices.world_size
        self.gradients = build_gradients(model, devices, run.sub_batch_size, share)
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
        self.optimizer.zero_grad(set_to_none=True)
        seed_key = (self.run.seed, self.step, self.devices.rank)
        losses = self.gradients.add(batch, seed_key, self._autocast, self._backward)
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
            state = {"scaler": self.scaler.state_dict()}
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
