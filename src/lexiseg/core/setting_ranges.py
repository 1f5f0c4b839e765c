"""Refuse numbers that a setting cannot have, with a message that names the setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers a setting can have.

    Attributes:
        least: Smallest value.
        most: Largest value; None for no bound.
        above: ``least`` itself is too small.
    """

    least: float | int
    most: float | int | None = None
    above: bool = False

    def holds(self, value: float | int) -> bool:
        """Return whether a number lies in the range; NaN never does."""
        low = value > self.least if self.above else value >= self.least
        return low and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        low = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        return f"a number {low}" + ("" if self.most is None else f" to {self.most:g}")


#: Sizes of networks and data: far above what is used, far below what fills a memory or never ends.
WIDTH = Range(least=1, most=16_384)
DEPTH = Range(least=1, most=256)
SIDE = Range(least=1, most=16_384)
COUNT = Range(least=1, most=10**9)
SHARE = Range(least=0, most=1)
FACTOR = Range(least=0, most=10**6)
SPREAD = Range(least=0, most=10, above=True)


def check_ranges(settings: Any, ranges: Mapping[str, Range], *, method: str) -> None:
    """Check fields of a dataclass; of a tuple, every item; None is left to its meaning.

    Raises:
        InputError: A number lies outside its range.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(map(allowed.holds, values)):
            raise InputError(
                doing=f"reading the settings of {method}",
                found=f"{name} = {value!r}",
                expected=str(allowed),
                fix="Correct it, or leave it out.",
            )


def check_divides(settings: Any, whole: str, part: str, *, method: str) -> None:
    """Check that a field of a dataclass divides another.

    Raises:
        InputError: It does not.
    """
    if getattr(settings, whole) % getattr(settings, part):
        raise InputError(
            doing=f"reading the settings of {method}",
            found=f"{part} = {getattr(settings, part)} for {whole} = {getattr(settings, whole)}",
            expected=f"a {part} that divides {whole}",
            fix="Change one of them.",
        )
