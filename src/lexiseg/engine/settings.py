"""How a model is optimised and how a run goes."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lexiseg.core.errors import InputError
from lexiseg.core.setting_ranges import COUNT, FACTOR, SHARE, Range, check_ranges

_POSITIVE = Range(least=0, most=10**6, above=True)
_OPTIM_RANGES = {
    **dict.fromkeys(("lr", "eps", "poly_power", "clip_norm"), _POSITIVE),
    "weight_decay": FACTOR,
    **dict.fromkeys(("warmup_fraction", "warmup_start", "final_factor"), SHARE),
}
_RUN_RANGES = {
    **dict.fromkeys(("num_steps", "save_every", "keep_checkpoints", "log_every", "evaluate_every"), COUNT),
    **dict.fromkeys(("batch_size", "sub_batch_size"), Range(least=1, most=10**6)),
    "num_workers": Range(least=0, most=1024),
    "save_minutes": Range(least=0, most=10**6, above=True),
    "seed": Range(least=0),
}


@dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """The optimiser and the learning rate over the steps.

    Attributes:
        optimizer: Optimiser: ``adamw``, or ``lars`` for very large batches.
        lr: Peak learning rate, above 0.
        weight_decay: Weight decay, 0 or more: decoupled for AdamW, added to the gradient for LARS.
        betas: Decay rates of AdamW's first and second moments, two numbers in [0, 1).
        eps: Term added to the denominator of AdamW, above 0.
        momentum: Momentum of LARS, in [0, 1).
        schedule: Learning rate schedule after the warm-up: half a cosine, a polynomial, or constant.
        warmup_fraction: Fraction of all steps in which the learning rate rises linearly, in [0, 1].
        warmup_start: Learning rate at the first step of the warm-up, as a fraction of ``lr``, in [0, 1].
        warmup_multiplies: The schedule begins with the first step and the warm-up multiplies it, as in
            mmsegmentation; otherwise the schedule begins after the warm-up.
        final_factor: Learning rate after the last step, as a fraction of ``lr``, in [0, 1].
        poly_power: Exponent of the polynomial schedule, above 0.
        clip_norm: Largest norm of the gradient of all parameters together, above 0; None does not clip.
        ema_decay: Decay of an exponential moving average of the weights, between 0 and 1, which is what a run
            ends with; None keeps no average.
    """

    optimizer: Literal["adamw", "lars"] = "adamw"
    lr: float = 3e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    warmup_fraction: float = 0.0
    warmup_start: float = 0.0
    warmup_multiplies: bool = False
    final_factor: float = 0.0
    poly_power: float = 0.9
    clip_norm: float | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        check_ranges(self, _OPTIM_RANGES, method="the optimiser")
        _check(self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1")
        _check(self, "momentum", 0 <= self.momentum < 1, "a number from 0 to below 1")
        decay = self.ema_decay
        _check(self, "ema_decay", decay is None or 0 < decay < 1, "a number between 0 and 1, or none")


#: Services that accelerate knows a tracker for; TensorBoard's files are written without.
Tracker: TypeAlias = Literal["wandb", "mlflow", "trackio", "comet_ml", "clearml", "swanlab", "aim", "dvclive"]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How long a run goes, on what, and what it leaves.

    Attributes:
        num_steps: Number of optimiser steps, 1 or more.
        batch_size: Samples per step over all devices, 1 or more.
        sub_batch_size: Samples per forward pass on a device at most; None takes its whole share. A
            contrastive loss still compares the whole batch; other losses are averaged over the sub-batches. Halved where
            the memory of a single device does not suffice.
        gradient_checkpointing: Let the blocks of networks compute again in the backward pass what they need there: less
            memory, about a third more time.
        seed: Seed of weights, data order and dropout, 0 or more.
        precision: Precision of the forward pass; weights and optimiser stay in fp32.
        num_workers: Number of data loading processes; 0 loads in the training process.
        save_every: Steps between checkpoints, 1 or more; one is written at the end in any case.
        save_minutes: Minutes after which a checkpoint is written between those too; None goes by steps only.
        keep_checkpoints: Number of newest checkpoints that are kept, 1 or more.
        log_every: Steps between lines of the log, 1 or more.
        evaluate_every: Steps between evaluations, 1 or more; None evaluates at the end only.
        final: Weights that the run ends with: ``last``; ``best``, those of the evaluation whose first score is best; or the
            name of the score that decides. Of scores that end in ``loss`` the lowest is best, of others the highest.
        device: Device: cpu, cuda, cuda:1, …; auto takes a GPU where there is one.
        trackers: Services that also get every line of the log, through accelerate: wandb, mlflow, trackio, comet_ml,
            clearml, swanlab, aim or dvclive, each with its own package and account; tensorboard is written without being asked.
        parallel: Strategy for several devices: ddp replicates the weights, fsdp shards them.
    """

    num_steps: int
    batch_size: int
    sub_batch_size: int | None = None
    gradient_checkpointing: bool = False
    seed: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    num_workers: int = 0
    save_every: int = 1000
    save_minutes: float | None = None
    keep_checkpoints: int = 2
    log_every: int = 10
    evaluate_every: int | None = None
    final: str = "last"
    device: str = "auto"
    trackers: tuple[Tracker, ...] = ()
    parallel: Literal["ddp", "fsdp"] = "ddp"

    def __post_init__(self) -> None:
        check_ranges(self, _RUN_RANGES, method="a run")
        unscaled = not (self.precision == "fp16" and self.parallel == "fsdp")
        _check(self, "precision", unscaled, "bf16 or fp32 with parallel fsdp")


#: Fields of RunSettings that may differ between a run and its continuation: they do not change what is learnt. Parts of another
#: size and another device round otherwise, in the last digits.
RESUMABLE = frozenset(
    {
        "num_workers", "save_every", "save_minutes", "keep_checkpoints", "log_every", "evaluate_every",
        "sub_batch_size", "device", "gradient_checkpointing", "final", "trackers",
    }
)  # fmt: skip
#: Fields that may grow: a run goes on for longer, by the learning rates of its new length.
EXTENDABLE = frozenset({"num_steps"})


def _check(settings: Any, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(
            doing=f"reading the training setting {name}",
            found=f"{name} = {getattr(settings, name)!r}",
            expected=expected,
            fix=f"Change {name}.",
        )
