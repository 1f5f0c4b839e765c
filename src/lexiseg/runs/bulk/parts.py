"""Where results go: to files that workers write themselves, or to Parquet parts, each written when all its images have one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from lexiseg.core.errors import InputError
from lexiseg.data.formats.result_shards import (
    ResultRow,
    RowKind,
    as_text,
    failed_row,
    pyarrow_packages,
    read_part,
    same_file,
    write_part,
)
from lexiseg.runs.bulk.image_plan import ImagePlan
from lexiseg.runs.bulk.inputs import facts_of
from lexiseg.runs.bulk.job import Numbered, Outcome
from lexiseg.runs.bulk.segment import KeptRow


@dataclass(kw_only=True)
class _Part:
    """A part that is not written yet.

    Attributes:
        rows: Of its images, by number.
        outcomes: What is told once it is written.
        waiting: Images without an outcome.
    """

    rows: dict[int, ResultRow]
    outcomes: list[Outcome]
    waiting: int


class ResultFiles:
    """Results in files of their own, which whoever segments an image writes: there is nothing left but to tell.

    Args:
        plan: All images.
        tell: Called with what became of each image.
    """

    def __init__(self, plan: ImagePlan, tell: Callable[[Outcome], None]) -> None:
        self._plan, self._tell = plan, tell

    def inputs(self, chosen: Sequence[int]) -> Iterator[Numbered]:
        """Return the images with these numbers."""
        return ((number, self._plan[number]) for number in chosen)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Tell of outcomes as they come."""
        for outcome in outcomes:
            self._tell(outcome)


class ResultParts:
    """The parts that a run writes.

    Inputs are asked for as they are needed, and a part is looked at when the run comes to it: of what is there, rows of the
    same images are kept. Memory holds the rows of as many parts as workers are at, two more at most.

    Args:
        plan: All images.
        out: Folder of the results.
        size: Images of a part.
        kind: How rows hold labels.
        request: What was asked for; parts of another request are written anew.
        redoes: Write all parts anew.
        tell: Called with what became of each image, once its part is written.

    Raises:
        InputError: A part has no image.
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(
        self,
        plan: ImagePlan,
        out: Path,
        *,
        size: int,
        kind: RowKind,
        request: Mapping[str, Any],
        redoes: bool,
        tell: Callable[[Outcome], None],
    ) -> None:
        if size < 1:
            raise InputError(
                doing="reading the arguments",
                found=f"--part-size {size}",
                expected="one image or more",
                fix="Leave it out for 1000.",
            )
        pyarrow_packages("writing results to Parquet")
        self._plan, self._out, self._size, self._kind = plan, out, size, kind
        self._about = {"format": 1, "request": dict(request)}
        self._redoes, self._tell = redoes, tell
        self._open: dict[int, _Part] = {}

    def inputs(self, chosen: Sequence[int]) -> Iterator[Numbered]:
        """Return the images that need work, among those with these numbers, ascending."""
        for first, numbers in groupby(chosen, key=lambda number: number - number % self._size):
            yield from ((number, self._plan[number]) for number in self._begin(first, set(numbers)))

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Write the parts of outcomes as they become whole.

        Raises:
            OutputError: A part cannot be written.
        """
        for outcome in outcomes:
            first = outcome.number - outcome.number % self._size
            part = self._open[first]
            content = outcome.content
            if isinstance(content, KeptRow):
                part.rows[outcome.number] = content.row
                outcome = replace(outcome, content=content.summary)
            else:
                image, stem = self._plan[outcome.number]
                part.rows[outcome.number] = failed_row(stem, str(image), facts_of(image), outcome.message)
            part.outcomes.append(outcome)
            part.waiting -= 1
            if not part.waiting:
                self._finish(first, self._open.pop(first))

    def _begin(self, first: int, wanted: set[int]) -> list[int]:
        """Look at a part; return the images that must be done for it, and tell of those that are there."""
        numbers = range(first, min(first + self._size, len(self._plan)))
        old = None if self._redoes else read_part(self._out, first, self._about)
        by_name = {row.facts["image"]: row for row in old or ()}
        part = _Part(rows={}, outcomes=[], waiting=0)
        pending = []
        for number in numbers:
            image, stem = self._plan[number]
            row = by_name.get(as_text(stem))
            if row is not None and number not in wanted:
                part.rows[number] = row
            elif row is not None and row.is_done and same_file(row, facts_of(image)):
                part.rows[number] = row
                part.outcomes.append(Outcome(number=number, state="there"))
            else:
                pending.append(number)
        part.waiting = len(pending)
        if pending:
            self._open[first] = part
        elif len(part.rows) == len(old or ()):
            self._tell_all(part)
        else:
            self._finish(first, part)
        return pending

    def _finish(self, first: int, part: _Part) -> None:
        rows = [part.rows[number] for number in sorted(part.rows)]
        write_part(self._out, first, rows, kind=self._kind, about=self._about)
        self._tell_all(part)

    def _tell_all(self, part: _Part) -> None:
        for outcome in sorted(part.outcomes, key=lambda outcome: outcome.number):
            self._tell(outcome)
