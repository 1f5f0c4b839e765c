"""The progress bar of long commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress(what: str, total: int, console: "Console | None" = None) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal, nothing elsewhere; yield what advances it by one.

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
    hidden = not console.is_terminal or total == 1
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
