"""Warnings as a person reads them: a line each, and of many images with the same trouble one line and a count."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lexiseg.core.terminal import plain_text


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Print the warnings of a command as notes on standard error, each text once.

    Of warnings that name their ``kind`` the first is printed, and the number of others at the end.
    """
    counts: Counter[str] = Counter()
    shown: set[str] = set()
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        kind = getattr(message, "kind", None)
        if kind is not None:
            counts[kind] += 1
        if kind is None and not issubclass(category, UserWarning):
            usual(message, category, *where, **more)  # of a library, for whoever programs
        elif (kind is None or counts[kind] == 1) and str(message) not in shown:
            shown.add(str(message))
            print(f"note: {plain_text(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            yield
        finally:
            for kind, count in counts.items():
                if count > 1:
                    print(f"note: {count - 1:,} more: {plain_text(kind)}", file=sys.stderr)
