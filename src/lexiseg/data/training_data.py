"""TrainingData: an endless row of batches, each a function of the step alone."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lexiseg.core.batch import Batch


class TrainingData(ABC):
    """Batches by step. What step 700 gives does not depend on where a run was stopped or resumed.

    Attributes:
        batch_size: Samples a step over all devices together.
    """

    batch_size: int

    @abstractmethod
    def batches(
        self,
        *,
        start_step: int,
        stop_step: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
    ) -> Iterator[Batch]:
        """Give this device's share of the batches of steps ``start_step`` up to ``stop_step``.

        The share of rank ``r`` is rows ``r * share`` up to ``(r + 1) * share`` of the whole batch.

        Args:
            start_step: First step, counted from 0.
            stop_step: The step after the last.
            rank: Number of this device.
            world_size: Number of devices; divides ``batch_size``.
            num_workers: Processes that make batches ahead; 0 makes them here. Changes no batch.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash what the batches depend on: 64 hexadecimal digits."""

    def list_broken_in(self, folder: Path) -> None:  # noqa: B027  # most data has none
        """List samples that cannot be used in files of this folder; by default none are met.

        Called once, before the first batch, on every device.
        """

    def describe(self) -> dict[str, Any]:
        """Give what a person reading the run should know of the data, as plain values."""
        return {}
