"""What reaches a terminal: our own colours and lines, and names only as letters.

Names of files, members of tar files and classes come from anywhere. A control sequence in one could move the cursor,
hide a line or write the clipboard, and square brackets are styles to rich. Every console is made by ``open_console``; what
is printed otherwise goes through ``plain_output``.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Control characters but tab and line feed, and those that turn the direction of what follows.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain_text(text: str) -> str:
    r"""Write control characters as their numbers: ``\x1b`` as four letters; tabs and line feeds stay."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class _PlainStream:
    """A text stream that writes control characters as their numbers."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(plain_text(text))
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
    sys.stdout, sys.stderr = (stream and _PlainStream(stream) for stream in before)
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
        highlight=highlight,
        soft_wrap=soft_wrap,
        markup=False,
        emoji=False,
    )


@cache
def _console_class() -> type["Console"]:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PlainConsole(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(plain_text(segment.text), segment.style)

    return PlainConsole
