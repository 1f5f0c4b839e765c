"""``lexiseg jobs``: how far a job with many inputs is, and what failed."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import option

if TYPE_CHECKING:
    from lexiseg.runs.bulk.states import States


@dataclass(frozen=True, kw_only=True)
class ShowJob:
    """Print how many inputs of a job are done, at what rate, what is left, and what failed with its reason."""

    folder: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="Where its results go: what --out was given.")]
    ]
    json: Annotated[Path | None, option("FILE", "Write all of it there, as JSON.")] = None

    def run(self) -> int:
        """Print the state of a job; return 1 if an input has failed."""
        from lexiseg.cli.worker_options import MOST_PRINTED
        from lexiseg.core.terminal import plain_text
        from lexiseg.runs.bulk.states import read_states

        states = read_states(self.folder)
        for line in _lines(states):
            print(plain_text(line))
        for failure in states.failures[:MOST_PRINTED]:
            print(plain_text(f"  failed: {failure.path}: {failure.reason}"))
        if len(states.failures) > MOST_PRINTED:
            more = len(states.failures) - MOST_PRINTED
            print(plain_text(f"  … and {more:,} more: lexiseg jobs failed {self.folder}"))
        if states.failures and not states.is_running:
            print("next: the same command with --retry-failed does these again, and nothing else")
        if self.json is not None:
            self._write(states)
        return 1 if states.failures else 0

    def _write(self, states: "States") -> None:
        from dataclasses import asdict
        from json import dumps

        from lexiseg.core.atomic_write import atomic_path

        assert self.json is not None
        content = {
            **asdict(states),
            "failures": [failure._asdict() for failure in states.failures],
            "left": states.left,
            "a_second": states.a_second,
        }
        with atomic_path(self.json) as temporary:
            temporary.write_text(dumps(content, indent=1) + "\n", encoding="utf-8")


def _lines(states: "States") -> list[str]:
    """Write the counts, and the rate of the last run."""
    workers = f"{states.workers} worker{'s' if states.workers > 1 else ''}"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(states.begun))
    if states.is_running:
        how = "is running"
    elif states.has_ended:
        how = "has ended"
    else:
        how = "was stopped before its end; the same command goes on"
    there = states.counts["there"]
    kept = f", {there:,} of them there before the last run" if there else ""
    lines = [
        f"{states.command} with {workers}: {how} (begun {since})",
        f"  done {states.done:,} of {states.total:,}{kept}; failed {len(states.failures):,}; left {states.left:,}",
    ]
    if states.a_second is not None:
        left = f", about {_duration(states.left / states.a_second)} left" if states.left else ""
        lines.append(f"  {states.a_second:.3g} a second{left}")
    return lines


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02}:{minutes:02}" if days else f"{hours}:{minutes:02}:{rest:02}"


@dataclass(frozen=True, kw_only=True)
class FailedInputs:
    """Print the paths of what failed, one a line, as --list takes them."""

    folder: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="Where the job's results go.")]
    ]

    def run(self) -> int:
        """Print paths; return the exit code."""
        from lexiseg.runs.bulk.states import read_states

        for failure in read_states(self.folder).failures:
            print(failure.path)
        return 0


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Show how far a job with many inputs is, and what failed."""

    action: (
        Annotated[ShowJob, tyro.conf.subcommand("show", prefix_name=False)]
        | Annotated[FailedInputs, tyro.conf.subcommand("failed", prefix_name=False)]
    )

    def run(self) -> int:
        """Do it; return the exit code."""
        return self.action.run()
