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

    @property
    def steps_per_epoch(self) -> float | None:
        """Steps in which every sample comes once; None where there is no end of samples, or nobody knows."""
        return None

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
        """Return this device's share of each batch; worker processes each make a part, as large as memory allows."""
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
    first, last = rank * share, (rank + 1) * share
    if not num_workers:
        for step in range(start_step, stop_step):
            yield make_batch(step, first, last)
        return
    rows = (
        share
        if start_step == stop_step
        else _rows_of_a_part(make_batch, start_step, first, share, num_workers)
    )
    starts = range(first, last, rows)
    loader = DataLoader(
        _Parts(make_batch, (first, last, rows), start_step, stop_step),
        batch_size=None,
        sampler=range(len(starts) * (stop_step - start_step)),
        num_workers=num_workers,
        prefetch_factor=_PREFETCHED,
    )
    made: list[Batch] = []
    for part in loader:
        if isinstance(part, LexisegError):
            raise part
        made.append(part)
        if len(made) == len(starts):
            yield Batch.joined(made)
            made = []


#: Parts that each worker makes ahead.
_PREFETCHED = 2
#: Bytes of all parts that wait in shared memory, on one device.
MOST_AHEAD = 1 << 30


def _rows_of_a_part(make_batch: MakeBatch, step: int, first: int, share: int, num_workers: int) -> int:
    """Return how many rows a worker makes at once, so that all that wait stay below ``MOST_AHEAD``; the whole share at most."""
    row_bytes = max(1, make_batch(step, first, first + 1).num_bytes)
    return max(1, min(share, MOST_AHEAD // (row_bytes * num_workers * _PREFETCHED)))


class _Parts(Dataset["Batch | LexisegError"]):
    """Parts of one device's batches, in order. An error is given, not raised: a loader would make another error of it."""

    def __init__(
        self, make_batch: MakeBatch, rows: tuple[int, int, int], start_step: int, stop_step: int
    ) -> None:
        self.make_batch, self.start_step = make_batch, start_step
        self.first, self.last, self.rows = rows
        self.num_parts = len(range(*rows))
        self.num_steps = stop_step - start_step

    def __len__(self) -> int:
        return self.num_parts * self.num_steps

    def __getitem__(self, index: int) -> Batch | LexisegError:
        step, part = divmod(index, self.num_parts)
        start = self.first + part * self.rows
        try:
            return self.make_batch(self.start_step + step, start, min(self.last, start + self.rows))
        except LexisegError as error:
            return error
