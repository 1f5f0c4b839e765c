"""Who does the inputs of a command that has many: options, and what is said of those that failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import option

if TYPE_CHECKING:
    from lexiseg.runs.bulk.job import Workers

#: Failures that a command prints; a list of all is kept beside the results.
MOST_PRINTED = 50


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Who does the work; the results are the same."""

    workers: Annotated[
        int,
        tyro.conf.arg(
            metavar="N",
            help="Processes that share the work and the cores. One that dies is replaced, and an input that ends two is "
            "left out and listed.",
        ),
    ] = 1
    ray_address: Annotated[
        str | None,
        option(
            "ADDRESS",
            "Let Ray start the workers (extra: ray): local for this machine, or a cluster to join, auto or "
            "ray://host:10001, whose machines must all see the folders.",
        ),
    ] = None

    def chosen(self) -> "Workers":
        """Return them as jobs take them."""
        from lexiseg.runs.bulk.job import Workers

        return Workers(count=self.workers, ray_address=self.ray_address)


@dataclass(frozen=True, kw_only=True)
class BulkOptions(WorkerOptions):
    """Who does the work, and for how long at most."""

    time_limit: Annotated[
        float,
        tyro.conf.arg(
            metavar="SECONDS", help="With workers: how long one input may take before its worker is replaced."
        ),
    ] = 600.0


def failure_lines(failed: Sequence[tuple[str | Path, str]], count: int, folder: Path) -> list[str]:
    """Write the first failures, and how all are listed.

    Args:
        failed: Inputs and why they failed, the first ones.
        count: How many there are in all.
        folder: Where the job's states are.
    """
    lines = [f"  failed: {path}: {problem}" for path, problem in failed]
    if count > len(failed):
        lines.append(f"  … and {count - len(failed):,} more: lexiseg jobs show {folder}")
    return lines
