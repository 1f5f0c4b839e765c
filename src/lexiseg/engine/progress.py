"""What a person sees of a run: a bar on a terminal, lines elsewhere."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from lexiseg.core.terminal import open_console

#: Told of every step: its number, and what to show if it was logged.
Report = Callable[[int, Mapping[str, float] | None], None]

#: Without a terminal, about so many lines a run.
_LINES = 100


@contextmanager
def report_progress(start: int, num_steps: int, *, quiet: bool, doing: str = "training") -> Iterator[Report]:
    """Yield what is to be called after each step; prints on the standard error stream.

    Args:
        start: Steps done already.
        num_steps: Steps of the whole run.
        quiet: Print nothing.
        doing: What the bar is of.
    """
    if quiet:
        yield lambda step, shown: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = open_console(stderr=True)
    if not console.is_terminal:
        yield _lines(start, num_steps)
        return
    columns = (
        TextColumn(doing),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=num_steps, completed=start, shown="")

        def show(step: int, shown: Mapping[str, float] | None) -> None:
            bar.update(task, completed=step)
            if shown is not None:
                bar.update(task, shown=one_line(shown))

        yield show


def one_line(shown: Mapping[str, float]) -> str:
    """Write values side by side: four digits of each."""
    return "  ".join(f"{name} {value:.4g}" for name, value in shown.items())


def _lines(start: int, num_steps: int) -> Report:
    every = max(1, num_steps // _LINES)
    last = start

    def show(step: int, shown: Mapping[str, float] | None) -> None:
        nonlocal last
        if shown is not None and (step - last >= every or step == num_steps):
            last = step
            print(f"step {step}/{num_steps}  {one_line(shown)}", file=sys.stderr, flush=True)

    return show
