"""Time functions side by side in one run: interleaved, medians, ratios, with the machine written down.

A time from another day or machine means little; a ratio between two functions that took turns in
one process means something. Every benchmark here prints ratios and writes them as JSON.
"""

import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions

Row = dict[str, Any]


def compare(functions: Mapping[str, Callable[[], object]], repeats: int = 15, **labels: object) -> list[Row]:
    """Time functions in turns, so that a busy moment of the machine hits all of them alike.

    Args:
        functions: Name to a call without arguments. The first is the one the others are compared
            with: ``ratio`` says how many times slower than it each is.
        repeats: Rounds; each function is timed once a round. Calls shorter than 2 ms are looped.
        labels: Copied into every row, e.g. ``input="coco-free"``.

    Returns:
        One row a function: labels, ``function``, ``median_ms``, ``fastest_ms``, ``ratio`` (of medians).
    """
    loops: dict[str, int] = {}
    for name, function in functions.items():
        function()  # compiles, fills caches
        start = time.perf_counter()
        function()
        loops[name] = max(1, int(0.002 / max(time.perf_counter() - start, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(loops[name]):
                function()
            times[name].append((time.perf_counter() - start) / loops[name])
    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = next(iter(medians.values()))
    return [
        {
            **labels,
            "function": name,
            "median_ms": round(1000 * medians[name], 5),
            "fastest_ms": round(1000 * min(times[name]), 5),
            "ratio": round(medians[name] / reference, 2),
        }
        for name in functions
    ]


def write_json(path: Path, rows: list[Row], packages: Iterable[str], **more: object) -> None:
    """Write rows with machine, versions and date; ``more`` adds further top-level entries."""
    content = {
        "command": f"python benchmarks/speed/{path.stem}.py",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(packages),
        **more,
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def print_rows(rows: list[Row], title: str) -> None:
    """Print rows as a table with a column for every key."""
    table = Table(title=title, caption=", ".join(f"{key} {value}" for key, value in machine().items()))
    for key in rows[0]:
        table.add_column(key, justify="right" if isinstance(rows[0][key], int | float) else "left")
    for row in rows:
        table.add_row(
            *(f"{value:,.3f}" if isinstance(value, float) else str(value) for value in row.values())
        )
    Console(width=140).print(table)
