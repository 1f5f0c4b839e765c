"""The weights of the best evaluation of a run: what it ends with where its last weights are not the best."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.engine.devices import Devices
from lexiseg.engine.from_main import number_from_main

LAST, BEST = "last", "best"


class BestWeights:
    """Keeps the weights of the best evaluation so far, in the memory of the main process and in every checkpoint.

    So a run that is stopped and resumed ends with the same weights as one that was not.

    Args:
        wanted: ``last`` keeps nothing; ``best`` goes by the first score of an evaluation; else the name of a score. Of scores
            whose name ends in ``loss`` the lowest is the best, of all others the highest.
        devices: All of them decide alike, as the main process does.

    Attributes:
        facts: Step, name and value of the best score so far; None before the first one.
        tensors: Weights at that step, on the CPU of the main process.
    """

    def __init__(self, wanted: str, devices: Devices) -> None:
        self.wanted, self._devices = wanted, devices
        self.facts: dict[str, Any] | None = None
        self.tensors: dict[str, Tensor] = {}

    def offer(
        self, step: int, scores: Mapping[str, float], weights: Callable[[], Mapping[str, Tensor]]
    ) -> None:
        """Keep the weights if their score is the best so far; all processes call this.

        Args:
            step: Updates done.
            scores: Of an evaluation, by name; of an equal score the earlier weights stay.
            weights: Returns the weights that were scored; called only if they are to be kept.

        Raises:
            InputError: The score that decides is not among them.
        """
        if self.wanted == LAST or not scores:
            return
        name = next(iter(scores)) if self.wanted == BEST else self.wanted
        if name not in scores:
            raise InputError(
                doing="keeping the best weights of a run",
                found=f"run.final = {self.wanted!r}, which no evaluation gives",
                expected=f"last, best, or one of: {', '.join(scores)}",
                fix="Correct --run.final; with --resume it may differ from that of the start.",
            )
        if number_from_main(self._devices, int(self._is_better(name, float(scores[name])))):
            self.facts = {"step": step, "score": name, "value": float(scores[name])}
            self.tensors = {
                key: value.clone() for key, value in weights().items()
            }  # the others go on learning

    def _is_better(self, name: str, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.facts is None or self.facts["score"] != name:
            return True
        before = float(self.facts["value"])
        return value < before if name.endswith("loss") else value > before

    def load(self, tensors: Mapping[str, Tensor], facts: object, source: str) -> None:
        """Go on with what a checkpoint kept; nothing where it kept nothing.

        Raises:
            CheckpointError: What it says of the best step is damaged.
        """
        if facts is None and not tensors:
            return
        kinds = {"step": int, "score": str, "value": float}
        if (
            not isinstance(facts, dict)
            or {key: type(facts.get(key)) for key in kinds} != kinds
            or not tensors
        ):
            raise CheckpointError(
                doing=f"reading the checkpoint {source}",
                found=f"the best step so far given as {facts!r} with {len(tensors)} tensors",
                expected="step, score and value of the best evaluation, and its weights",
                fix="Delete that folder to go on from the checkpoint before it.",
            )
        self.facts = facts
        self.tensors = dict(tensors) if self._devices.is_main else {}
