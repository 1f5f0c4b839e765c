"""Job: work on many inputs, as the three runners know it."""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lexiseg.core.errors import InputError

#: What becomes of an input: done now, found done already, or left out with a reason.
State: TypeAlias = Literal["done", "there", "failed"]

#: A number that is an input's own within its job, and what the job needs to know of it.
Numbered: TypeAlias = tuple[int, Any]

#: Starts Ray on this machine.
LOCAL_RAY = "local"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one input.

    Attributes:
        number: Of the input.
        state: See ``State``.
        message: Why it failed.
        content: What the job tells of it; small, since it goes from process to process.
    """

    number: int
    state: State
    message: str = ""
    content: Any = None


class Job(ABC):
    """Work that is done input by input, in any order and by any process.

    Instances cross process borders: what is expensive to open is opened in ``work``, once a worker. Whoever does an
    input, and in whatever company, writes the same bytes, each file whole or not at all.

    Attributes:
        name: For messages, such as ``segmenting``.
        ahead: Inputs that wait in a worker, so that it does not wait for the next; 0 where inputs take long.
        shard: Inputs that one task of a cluster does: what is lost at most when it dies.
        lists_failures: An input that takes workers down is left out and listed; otherwise it ends the job.
        seconds: How long a worker may take over one input before it is ended; None for ever.
        uses_gpu: Each worker of a cluster gets a GPU of its own where there are any.
        window: For jobs whose outcomes are wanted in order: inputs for each worker, counted from the oldest without an
            outcome, beyond which none is begun; None where order does not matter.
        modules: What workers need beside the job's own module; those of this machine share one import.
    """

    name: str
    ahead: int = 2
    shard: int = 16
    lists_failures: bool = True
    seconds: float | None = None
    uses_gpu: bool = False
    window: int | None = None
    modules: tuple[str, ...] = ()

    def begin(self, worker: int) -> None:  # noqa: B027
        """Prepare one of several workers, once, before its first ``work``.

        Args:
            worker: Its number, from 0: what chooses one of several GPUs.
        """

    @abstractmethod
    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Do inputs one after the other; yield the outcome of each once its files are written.

        An input is taken from the iterable when work on it begins, and not before what is expensive has been opened:
        whoever dies is taken to have died at an input that was taken and has no outcome yet.

        Raises:
            LexisegError: What concerns more than one input, such as a full disk.
        """


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who does the inputs of a job.

    Attributes:
        count: Processes; one works in this process.
        ray_address: Through Ray Data: ``local``, which starts Ray on this machine, or a cluster to join, such as
            ``auto`` or ``ray://host:10001``, whose machines must all see the folders.

    Raises:
        InputError: There are none.
    """

    count: int = 1
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(
                doing="starting workers",
                found=f"{self.count} workers",
                expected="one or more",
                fix="Leave --workers out for one.",
            )

    @property
    def are_here(self) -> bool:
        """Return whether all work is done in this process."""
        return self.count == 1 and self.ray_address is None

    @property
    def threads(self) -> int:
        """Return how many threads each of several processes of this machine uses: together as many as there are cores."""
        return max(1, num_cores() // self.count)


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
