"""Quiet commands: nothing but errors is printed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO, TextIOBase
from typing import Any


class WithoutNotes(TextIOBase):
    """A stream that leaves out lines which begin with "note:".

    Args:
        stream: Gets the other lines.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        """Write whole lines; an unfinished one waits."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if not line.startswith("note:"):
                self._stream.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Write what waits, if it may still become no note."""
        if self._line and not "note:".startswith(self._line[:5]):
            self._stream.write(self._line)
            self._line = ""
        self._stream.flush()


@contextmanager
def quietly() -> Iterator[None]:
    """Print nothing on standard output, and no notes on standard error, while the block runs."""
    before = sys.stderr
    with redirect_stdout(StringIO()):
        sys.stderr = WithoutNotes(before)
        try:
            yield
        finally:
            sys.stderr.flush()
            sys.stderr = before
