"""The progress bar of long commands."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from rich.console import Console

#: Between two lines where there is no terminal.
_SECONDS = 15.0


@contextmanager
def progress(what: str, total: int, console: "Console | None" = None) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal, a line now and then elsewhere; yield what advances it by one.

    Args:
        what: Stands before the bar.
        total: Number of steps.
        console: Where the command prints meanwhile. If that is a terminal the bar is shown there,
            below what is printed: two consoles on one terminal would write into each other's lines.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if console is None or not console.is_terminal:
        console = open_console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        yield _lines(what, total)
        return
    hidden = total == 1
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _lines(what: str, total: int) -> Callable[[], None]:
    """Return what counts steps and says so on standard error, at most every ``_SECONDS``."""
    done, start = 0, time.monotonic()
    last = start

    def advance() -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if now - last >= _SECONDS and done < total:
            last = now
            left = (now - start) / done * (total - done)
            print(f"{what}: {done:,} of {total:,}, about {left:.0f} s left", file=sys.stderr, flush=True)

    return advance
