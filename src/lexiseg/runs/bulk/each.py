"""Apply a function to many inputs by several workers: what rooms below take in the place of ``map``."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

import torch

from lexiseg.core.mapping import Mapper
from lexiseg.runs.bulk.job import Job, Numbered, Outcome, Workers
from lexiseg.runs.bulk.run import do_job

Input = TypeVar("Input")
Result = TypeVar("Result")


class EachJob(Job):
    """Apply a function to every input; what it raises ends the job, and so does an input that ends workers.

    Args:
        name: For messages.
        function: Can be sent to other processes; what is expensive to open it opens when it is first called.
        uses_gpu: It computes on a GPU where there is one.
    """

    ahead = 4
    window = 32
    lists_failures = False

    def __init__(self, name: str, function: Callable[[Any], Any], *, uses_gpu: bool = False) -> None:
        self.name, self.uses_gpu = name, uses_gpu
        self._function = function

    def begin(self, worker: int) -> None:
        """Let "cuda" mean a GPU of one's own."""
        if self.uses_gpu and (count := torch.cuda.device_count()) > 1:
            torch.cuda.set_device(worker % count)

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Yield what the function returns, as content."""
        for number, item in inputs:
            yield Outcome(number=number, state="done", content=self._function(item))


def mapper(name: str, workers: Workers, *, uses_gpu: bool = False) -> Mapper:
    """Return what applies a function by workers; results come in the order of the inputs.

    Of results that wait for an earlier one there are 32 a worker at most; on a cluster Ray holds them.

    Args:
        name: What is done, for messages.
        workers: Who does it; one of this process is ``map`` itself.
        uses_gpu: The function computes on a GPU where there is one.
    """
    if workers.are_here:
        return map

    def apply(function: Callable[[Input], Result], inputs: Sequence[Input]) -> Iterator[Result]:
        job = EachJob(name, function, uses_gpu=uses_gpu)
        waiting: dict[int, Result] = {}
        following = 0
        with closing(do_job(job, enumerate(inputs), workers)) as outcomes:
            for outcome in outcomes:
                waiting[outcome.number] = outcome.content
                while following in waiting:
                    yield waiting.pop(following)
                    following += 1

    return apply
