"""LabelCode: what the values in a published label file mean, as a table.

Each benchmark stores its classes in its own way: shifted by one, with gaps, with 255 or 0 for void.
A table says it once; reading, checking and converting all go through it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int32, UInt16

from lexiseg.core.constants import IGNORE_INDEX

#: The value that read label files use for 255 (8 bits) and 65535 (16 bits).
TOP = IGNORE_INDEX

_NOT_ALLOWED = -1


@dataclass(frozen=True, eq=False)
class LabelCode:
    """Values of a label file and the class index each stands for.

    Attributes:
        classes: File value to class index; several values may share a class.
        void: File values that nobody scores. ``TOP`` is 255 in 8-bit and 65535 in 16-bit files.
    """

    classes: Mapping[int, int]
    void: frozenset[int] = frozenset()

    @cached_property
    def table(self) -> Int32[np.ndarray, "65536"]:
        """Class index, 65535 for void, or -1 for each of the 65,536 values."""
        table = np.full(TOP + 1, _NOT_ALLOWED, np.int32)
        table[list(self.classes)] = list(self.classes.values())
        table[list(self.void)] = IGNORE_INDEX
        return table

    def to_classes(self, values: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """Turn file values into class indices; the caller has checked them with ``unknown``."""
        return self.table[values].astype(np.uint16)

    def from_classes(self, labels: UInt16[np.ndarray, "H W"]) -> UInt16[np.ndarray, "H W"]:
        """Turn class indices into file values: the smallest value of each class, the smallest of void.

        Void becomes ``TOP`` where the code has no void value.
        """
        table = np.full(TOP + 1, TOP, np.uint16)
        for value, label in sorted(self.classes.items(), reverse=True):
            table[label] = value
        table[IGNORE_INDEX] = min(self.void, default=TOP)
        return table[labels]

    def unknown(self, values: Iterable[int]) -> list[int]:
        """Pick the values that the code does not know, ascending."""
        return sorted(value for value in values if self.table[value] == _NOT_ALLOWED)

    def describe(self) -> str:
        """Say which values are allowed, e.g. ``0 to 20, void 255 (65535 in 16 bits)``."""
        text = spans(value for value in self.classes if value != TOP)
        voids = spans(value for value in self.void if value != TOP)
        top = "255 (65535 in 16 bits)" if TOP in self.void else ""
        void = " and ".join(filter(None, (voids, top)))
        return text + (f"; void {void}" if void else "; no void")


def spans(values: Iterable[int]) -> str:
    """Write numbers as spans: 0, 1, 2, 5 become ``0 to 2, 5``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], value]
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)


def identity(count: int, void: Iterable[int] = (TOP,)) -> LabelCode:
    """Build the code in which the file holds class indices."""
    return LabelCode({label: label for label in range(count)}, frozenset(void))


def shifted(count: int, void: Iterable[int] = (0, TOP)) -> LabelCode:
    """Build the code in which the file holds class index plus one, and 0 for none of the classes."""
    return LabelCode({label + 1: label for label in range(count)}, frozenset(void))
