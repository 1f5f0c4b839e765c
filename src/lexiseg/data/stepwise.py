"""TrainingData: endless batches, each a function of the step alone; StepwiseData makes them from any such function.

Synthetic scenes, folders, anything indexed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lexiseg.core.batch import Batch
from lexiseg.core.errors import LexisegError


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
        """Return this device's share of the batches of steps ``start_step`` up to ``stop_step``.

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

    def files(self) -> Sequence[Path]:
        """List the files that images are read from, image files or shards of them; none where they are made."""
        return ()

    def list_broken_in(self, folder: Path) -> None:  # noqa: B027  # most data has none
        """List samples that cannot be used in files of this folder; by default none are met.

        Called once, before the first batch, on every device.
        """

    def describe(self) -> dict[str, Any]:
        """Return what a person reading the run should know of the data, as plain values."""
        return {}


#: Step, first row, row after the last: the samples of those rows of the batch of that step.
MakeBatch = Callable[[int, int, int], Batch]


class StepwiseData(TrainingData):
    """Batches from a function of the step and the rows.

    Args:
        make_batch: Gives rows ``start`` up to ``stop`` of the batch of a step; pure, and picklable where
            worker processes are used. A row's sample does not depend on which rows are asked for.
        batch_size: Rows of a whole batch.
        fingerprint: Hash of what ``make_batch`` depends on.
        facts: What ``describe`` says.
        files: Files that images are read from.
    """

    def __init__(
        self,
        make_batch: MakeBatch,
        *,
        batch_size: int,
        fingerprint: str,
        facts: Mapping[str, Any] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        self.make_batch = make_batch
        self.batch_size = batch_size
        self._fingerprint = fingerprint
        self._facts = dict(facts or {})
        self._files = tuple(files)

    def batches(
        self,
        *,
        start_step: int,
        stop_step: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
    ) -> Iterator[Batch]:
        """Return this device's share of each batch; worker processes each make whole batches, in order."""
        yield from stepwise_batches(
            self.make_batch,
            batch_size=self.batch_size,
            start_step=start_step,
            stop_step=stop_step,
            rank=rank,
            world_size=world_size,
            num_workers=num_workers,
        )

    def fingerprint(self) -> str:
        """Return the hash that the data was made with."""
        return self._fingerprint

    def files(self) -> Sequence[Path]:
        """Return the files that the data was made with."""
        return self._files

    def describe(self) -> dict[str, Any]:
        """Return the facts that the data was made with."""
        return self._facts


def stepwise_batches(
    make_batch: MakeBatch,
    *,
    batch_size: int,
    start_step: int,
    stop_step: int,
    rank: int,
    world_size: int,
    num_workers: int,
) -> Iterator[Batch]:
    """Make one device's share of the batches of ``TrainingData.batches``, in order, in any number of processes."""
    assert batch_size % world_size == 0, f"{batch_size} rows on {world_size} devices"
    share = batch_size // world_size
    loader = DataLoader(
        _Steps(make_batch, rank * share, (rank + 1) * share, stop_step),
        batch_size=None,
        sampler=range(start_step, stop_step),
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
    )
    for made in loader:
        if isinstance(made, LexisegError):
            raise made
        yield made


class _Steps(Dataset["Batch | LexisegError"]):
    """The batches of one device. An error is given, not raised: a loader would make another error of it."""

    def __init__(self, make_batch: MakeBatch, start: int, stop: int, num_steps: int) -> None:
        self.make_batch, self.start, self.stop, self.num_steps = make_batch, start, stop, num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Batch | LexisegError:
        try:
            return self.make_batch(step, self.start, self.stop)
        except LexisegError as error:
            return error
