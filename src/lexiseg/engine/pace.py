"""Pace: how long a step takes on this machine, said after a few steps, and a run of days refused."""

import statistics
import sys
import time

from lexiseg.core.errors import InputError

#: Steps that are timed; the first of a run, which also warms up, is not.
TIMED_STEPS = 3
#: Shorter runs are not worth a line, in seconds.
_WORTH_A_LINE = 60.0


class Pace:
    """Told of every step: says once what the rest will take, in time and in memory.

    Args:
        start: Steps done already.
        num_steps: Steps of the whole run.
        most_hours: What the rest may take; None for any time.
        quiet: Say nothing; a run that takes too long is refused all the same.
    """

    def __init__(self, start: int, num_steps: int, *, most_hours: float | None, quiet: bool) -> None:
        self._num_steps, self._most_hours, self._quiet = num_steps, most_hours, quiet
        self._first, self._last = start + 1, 0.0
        self._seconds: list[float] = []

    def __call__(self, step: int) -> None:
        """Take the time of a step.

        Raises:
            InputError: What is left would take longer than ``most_hours``.
        """
        if len(self._seconds) == TIMED_STEPS:
            return
        now = time.perf_counter()
        if step > self._first:
            self._seconds.append(now - self._last)
        self._last = now
        if len(self._seconds) == TIMED_STEPS:
            self._tell(statistics.median(self._seconds), self._num_steps - step)

    def _tell(self, seconds: float, left: int) -> None:
        rest = seconds * left
        memory = peak_memory()
        said = f"a step takes {duration(seconds)} here, so {left:,} more take about {duration(rest)}" + (
            "" if memory is None else f"; {memory / 2**30:.1f} GiB of memory so far"
        )
        if self._most_hours is not None and rest > 3600 * self._most_hours:
            raise InputError(
                doing="training on this machine",
                found=said,
                expected=f"a run of {self._most_hours:g} hours or less",
                fix="Nothing is lost yet. Take fewer steps (--run.num-steps) or smaller images, a machine with a GPU, "
                "or what lexiseg start FOLDER proposes for this machine; --long trains all the same.",
            )
        if rest > _WORTH_A_LINE and not self._quiet:
            print(f"{said[0].upper()}{said[1:]}.", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Write a time in the unit that a person would: ``0.42 s``, ``12 s``, ``7 min``, ``3.5 h``, ``2.1 days``."""
    for size, unit in ((86_400.0, "days"), (3600.0, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def peak_memory() -> int | None:
    """Return the most memory that this process has had, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024
