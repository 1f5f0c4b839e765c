"""Train a model: the steps of a run, what is written between them, and how it goes on after a stop."""

import copy
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import InputError
from lexiseg.core.interfaces import Trainable
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.checkpoint import checkpoint_steps, read_facts, read_tensors, write_tensors
from lexiseg.engine.devices import Devices, open_devices
from lexiseg.engine.from_main import number_from_main
from lexiseg.engine.interruptions import Interruptions
from lexiseg.engine.log import RunLog
from lexiseg.engine.pace import Pace
from lexiseg.engine.progress import report_progress
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.engine.training_state import TrainingState
from lexiseg.engine.watch import StepValues
from lexiseg.engine.weights import load_tensors
from lexiseg.ops.gather import mean_over_devices

#: The weights a finished run leaves for use.
WEIGHTS = "model.safetensors"

Evaluate = Callable[[Trainable], Mapping[str, float]]


def train(
    model: Trainable,
    data: TrainingData,
    *,
    optim: OptimSettings,
    run: RunSettings,
    out: Path,
    evaluate: Evaluate | None = None,
    resume: bool = False,
    quiet: bool = False,
    most_hours: float | None = None,
) -> bool:
    """Train, writing log, checkpoints and in the end ``model.safetensors`` into a folder.

    Every step depends on the settings, the data and the number of the step only: a run that was stopped and
    resumed ends with the same log, and on a CPU with the same bits, as one that was not.

    Args:
        model: Is trained in place; with several devices its parameters may be left sharded.
        data: Gives the batches.
        optim: How it is optimised.
        run: How the run goes.
        out: The run's folder.
        evaluate: Scores the model for the log, on every device alike; called in eval mode, without gradient,
            with the running mean of the weights where there is one.
        resume: Go on from the last checkpoint; from the start where there is none.
        quiet: Show no progress.
        most_hours: Refuse, after a few steps, a run that would take longer; None never does.

    Returns:
        Whether the run is finished; False where SIGTERM or SIGUSR1 made it write a checkpoint and end.

    Raises:
        InputError: The settings do not fit the data, the devices or what is in the folder, or the run would take
            longer than ``most_hours``.
        DivergedError: A loss or gradient is not finite.
        CheckpointError: The checkpoint to go on from is damaged or of another model.
        OutputError: The folder cannot be written.
        MissingPackageError: There are several processes and accelerate is not installed.
    """
    devices = open_devices(run.device, run.parallel)
    _check(data, run, devices)
    steps = checkpoint_steps(out)
    if steps and not resume:
        raise InputError(
            doing=f"training into {out}",
            found=f"a run with a checkpoint of step {steps[-1]}",
            expected="an empty folder",
            fix="Go on with that run (--resume), or choose another folder.",
        )
    scored = copy.deepcopy(model) if evaluate is not None and devices.is_sharded else None
    state = TrainingState(model, optim, run, devices)
    if last := number_from_main(devices, steps[-1] if steps else 0):  # other nodes may not see the folder
        state.load(out, last)
    log = RunLog(out, state.step, run.trackers) if devices.is_main else None
    pace = Pace(state.step, run.num_steps, most_hours=most_hours, quiet=quiet or not devices.is_main)
    try:
        evaluation = _Evaluation(evaluate, scored, state, log)
        if not _steps(state, data, out, log, evaluation, pace, quiet=quiet):
            return False
    finally:
        if log is not None:
            log.close()
    _write_final(state, out)
    return True


def without_training_only(model: Trainable, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the weights that training alone needs."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(model.training_only)}


def load_final(out: Path) -> dict[str, Tensor]:
    """Read the weights that a finished run left.

    Raises:
        CheckpointError: The file is damaged.
    """
    return read_tensors(out / WEIGHTS)


def final_step(out: Path) -> tuple[int, str] | None:
    """Return the step whose weights a finished run left and what they are: last, average or best; None where it left none."""
    try:
        facts = read_facts(out / WEIGHTS)
        return int(facts["step"]), str(facts["weights"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _steps(
    state: TrainingState,
    data: TrainingData,
    out: Path,
    log: RunLog | None,
    evaluation: "_Evaluation",
    pace: Pace,
    *,
    quiet: bool,
) -> bool:
    """Make the steps that are left; return whether all were made."""
    run, devices = state.run, state.devices
    interruptions = Interruptions(devices, run.save_minutes)
    batches = data.batches(
        start_step=state.step,
        stop_step=run.num_steps,
        rank=devices.rank,
        world_size=devices.world_size,
        num_workers=run.num_workers,
    )
    stopped = False
    unchecked: deque[StepValues] = deque()
    on_gpu = devices.device.type != "cpu"
    state.model.train()
    with (
        interruptions.listening(),
        report_progress(state.step, run.num_steps, quiet=quiet or not devices.is_main) as report,
    ):
        for batch in batches:
            unchecked.append(state.update(batch.pin_memory() if devices.device.type == "cuda" else batch))
            step, is_last = state.step, state.step == run.num_steps
            is_logged = step % run.log_every == 0 or step == 1 or is_last
            due = interruptions.due(together=is_logged)
            is_saved = step % run.save_every == 0 or is_last or due.stop or due.save
            # A GPU is a step ahead of what is checked, unless the numbers are needed now.
            ahead = 1 if on_gpu and not is_logged and not is_saved else 0
            while len(unchecked) > ahead:
                values = unchecked.popleft()
                numbers = values.check()
            shown = None
            if is_logged:
                numbers = replace(values, values=mean_over_devices(values.values)).values.tolist()
                if log is not None:
                    shown = log.step(values, numbers, run.batch_size)
            report(step, shown)
            pace(step)
            if is_last or (run.evaluate_every and step % run.evaluate_every == 0):
                evaluation()
            if is_saved:
                state.save(out)
                interruptions.saved()
            if due.stop and not is_last:
                stopped = True
                break
    return not stopped


def _write_final(state: TrainingState, out: Path) -> None:
    found, facts = state.tensors_to_end_with()
    tensors = without_training_only(state.model, found)
    if state.devices.is_main:
        with atomic_path(out / WEIGHTS) as temporary:
            write_tensors(temporary, tensors, **facts)
    state.devices.wait()


class _Evaluation:
    """Scores the weights that would be used if the run ended now."""

    def __init__(
        self, evaluate: Evaluate | None, scored: Trainable | None, state: TrainingState, log: RunLog | None
    ) -> None:
        self.evaluate, self.scored, self.state, self.log = evaluate, scored, state, log

    def __call__(self) -> None:
        if self.evaluate is None:
            return
        state = self.state
        with torch.no_grad():
            if self.scored is not None:
                scores = self.evaluate(self._full_copy(self.scored))
            else:
                with state.average.in_use() if state.average else nullcontext():
                    scores = self.evaluate(state.model.eval())
        state.best.offer(state.step, scores, state.final_tensors)
        state.model.train()
        if self.log is not None:
            if scores:
                self.log.evaluation(state.step, scores)
            self.log.restart_clock(state.step)

    def _full_copy(self, scored: Trainable) -> Trainable:
        """Gather sharded weights into a copy of the model, which every device has for this."""
        tensors = self.state.final_tensors(everywhere=True)
        load_tensors(scored, tensors, Path("the model in training"))
        return scored.to(self.state.devices.device).eval()


def _check(data: TrainingData, run: RunSettings, devices: Devices) -> None:
    if data.batch_size != run.batch_size:
        raise InputError(
            doing="starting the training",
            found=f"data with batches of {data.batch_size}",
            expected=f"batches of {run.batch_size}, as in the run's settings",
            fix="Build the data with batch_size = run.batch_size.",
        )
    if run.batch_size % devices.world_size:
        raise InputError(
            doing="starting the training",
            found=f"a batch of {run.batch_size} on {devices.world_size} devices",
            expected="a batch size that the number of devices divides",
            fix="Change run.batch_size or the number of processes.",
        )
