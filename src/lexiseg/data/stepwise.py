"""Training data that can make any batch on its own: synthetic scenes, folders, anything indexed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lexiseg.core.batch import Batch
from lexiseg.data.training_data import TrainingData

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
    """

    def __init__(
        self,
        make_batch: MakeBatch,
        *,
        batch_size: int,
        fingerprint: str,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.make_batch = make_batch
        self.batch_size = batch_size
        self._fingerprint = fingerprint
        self._facts = dict(facts or {})

    def batches(
        self,
        *,
        start_step: int,
        stop_step: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
    ) -> Iterator[Batch]:
        """Give this device's share of each batch; worker processes each make whole batches, in order."""
        assert self.batch_size % world_size == 0, f"{self.batch_size} rows on {world_size} devices"
        share = self.batch_size // world_size
        steps = _Steps(self.make_batch, rank * share, (rank + 1) * share, stop_step)
        loader = DataLoader(
            steps,
            batch_size=None,
            sampler=range(start_step, stop_step),
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
        )
        return iter(loader)

    def fingerprint(self) -> str:
        """Give the hash that the data was made with."""
        return self._fingerprint

    def describe(self) -> dict[str, Any]:
        """Give the facts that the data was made with."""
        return self._facts


class _Steps(Dataset[Batch]):
    def __init__(self, make_batch: MakeBatch, start: int, stop: int, num_steps: int) -> None:
        self.make_batch, self.start, self.stop, self.num_steps = make_batch, start, stop, num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Batch:
        return self.make_batch(step, self.start, self.stop)
