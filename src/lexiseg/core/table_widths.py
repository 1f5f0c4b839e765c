"""Widths of a table's columns at which no word is broken, as long as the terminal has room for that."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def fit_columns(table: "Table", console: "Console") -> int:
    """Set the columns of a table that is too wide, and return the width that it needs.

    Numbers (columns to the right) stay in one line, words of heads and cells stay whole, and the widest columns give way
    first. Where there is no room for that, lines between columns go, then long words of cells are folded; heads are never
    broken: a table whose heads do not fit goes over the edge.

    Args:
        table: Is changed.
        console: Where it will be printed.
    """
    from rich.box import SIMPLE_HEAD

    widest = [max((_longest_line(text) for text in texts), default=0) for texts in _texts(table, console)]
    if sum(widest) + _between(table) <= console.width:
        return console.width
    heads = [max(map(_longest_word, texts[:1]), default=0) for texts in _texts(table, console)]
    whole = [
        most if column.justify == "right" or column.no_wrap else max(map(_longest_word, texts), default=0)
        for column, texts, most in zip(table.columns, _texts(table, console), widest, strict=True)
    ]
    whole = [max(head, least) for head, least in zip(heads, whole, strict=True)]
    if sum(whole) + _between(table) > console.width and table.box is not None:
        table.box, table.show_edge, table.pad_edge = SIMPLE_HEAD, False, False
    room = console.width - _between(table)
    least = whole
    if sum(whole) > room:
        numbers = [
            size if column.justify == "right" else head
            for column, size, head in zip(table.columns, whole, heads, strict=True)
        ]
        least = numbers if sum(numbers) <= room else heads
    for column, size in zip(table.columns, _shrunk(widest, least, room), strict=True):
        column.width, column.min_width, column.max_width, column.overflow = size, None, None, "fold"
        column.no_wrap = False
    return max(console.width, sum(least) + _between(table))


def _texts(table: "Table", console: "Console") -> list[list[str]]:
    """Return head and cells of each column as they read."""
    return [[_plain(cell, console) for cell in (column.header, *column.cells)] for column in table.columns]


def _plain(cell: object, console: "Console") -> str:
    return console.render_str(cell, markup=False).plain if isinstance(cell, str) else str(cell)


def _longest_line(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.splitlines()), default=0)


def _longest_word(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split()), default=0)


def _between(table: "Table") -> int:
    """Return what lines and padding take beside the cells, for tables padded by one left and right, or right alone."""
    count = len(table.columns)
    left, right = table.padding[3], table.padding[1]
    padding = count * (left + right) - (0 if table.pad_edge else left + right)
    return padding + (0 if table.box is None else count - 1 + (2 if table.show_edge else 0))


def _shrunk(widest: list[int], least: list[int], room: int) -> list[int]:
    """Take from the widest column, one by one, until all fit or none can give more."""
    sizes = list(widest)
    while sum(sizes) > room:
        free = [place for place, size in enumerate(sizes) if size > least[place]]
        if not free:
            break
        sizes[max(free, key=sizes.__getitem__)] -= 1
    return sizes
