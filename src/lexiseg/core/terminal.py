"""What reaches a terminal: our own colours and lines, and names only as letters.

Names of files, members of tar files and classes come from anywhere. A control sequence in one could move the cursor,
hide a line or write the clipboard, and square brackets are styles to rich. Every console is made by ``open_console``; what
is printed otherwise goes through ``plain_output``.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Control characters but tab and line feed, and those that turn the direction of what follows.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(kw_only=True)
class Printed:
    """What was printed on standard output.

    Attributes:
        tables: Title, columns and rows of each table, as they read.
        lines: Everything else.
    """

    tables: list[dict[str, Any]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return both as plain values."""
        return {"tables": self.tables, "lines": "".join(self.text).splitlines()}


_PRINTED: ContextVar[Printed | None] = ContextVar("printed", default=None)


@contextmanager
def record_printed() -> Iterator[Printed]:
    """Keep what is printed on standard output while the block runs; it is printed all the same."""
    printed = Printed()
    token = _PRINTED.set(printed)
    try:
        yield printed
    finally:
        _PRINTED.reset(token)


def plain_text(text: str) -> str:
    r"""Write control characters as their numbers: ``\x1b`` as four letters; tabs and line feeds stay."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class _PlainStream:
    """A text stream that writes control characters as their numbers."""

    def __init__(self, stream: Any, *, is_recorded: bool = False) -> None:
        self.stream, self.is_recorded = stream, is_recorded

    def write(self, text: str) -> int:
        self.stream.write(plain_text(text))
        if self.is_recorded and (printed := _PRINTED.get()) is not None:
            printed.text.append(plain_text(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def plain_output() -> Iterator[None]:
    """Write control characters that are printed in the block as their numbers; what consoles write stays."""
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stdout and _PlainStream(sys.stdout, is_recorded=True)
    sys.stderr = sys.stderr and _PlainStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def open_console(*, stderr: bool = False, highlight: bool = True, soft_wrap: bool = False) -> "Console":
    """Make a console that shows square brackets and control characters of texts as they are.

    Args:
        stderr: Write to the standard error stream.
        highlight: Colour numbers and paths.
        soft_wrap: Leave long lines to the terminal.
    """
    stream = sys.stderr if stderr else sys.stdout
    return _console_class()(
        file=getattr(stream, "stream", stream),
        stderr=stderr,
        highlight=highlight,
        soft_wrap=soft_wrap,
        markup=False,
        emoji=False,
    )


def _as_rows(table: "Table") -> dict[str, Any]:
    columns = [[plain_text(str(cell)) for cell in column.cells] for column in table.columns]
    return {
        "title": None if table.title is None else plain_text(str(table.title)),
        "columns": [plain_text(str(column.header)) for column in table.columns],
        "rows": [list(row) for row in zip(*columns, strict=True)],
    }


@cache
def _console_class() -> type["Console"]:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

    from lexiseg.core.table_widths import fit_columns

    class PlainConsole(Console):
        def print(self, *objects: Any, **how: Any) -> None:
            printed = None if self.stderr else _PRINTED.get()
            table = objects[0] if len(objects) == 1 and isinstance(objects[0], Table) else None
            if printed is not None and table is not None:
                printed.tables.append(_as_rows(table))
            elif printed is not None:
                printed.text.append(plain_text(" ".join(map(str, objects)) + "\n"))
            if table is not None:
                self._print_table(table, **how)
            else:
                super().print(*objects, **how)

        def _print_table(self, table: Table, **how: Any) -> None:
            """Print a table on its own, over the console's edge where its heads do not fit."""
            width = self.width
            self.width = fit_columns(table, self)
            try:
                super().print(table, **{"crop": False, **how})
            finally:
                self.width = width

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(plain_text(segment.text), segment.style)

    return PlainConsole
