"""Names of millions of records in one buffer of bytes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from jaxtyping import UInt8, UInt32


class PackedKeys(Sequence[str]):
    """Names, read-only, in two arrays instead of an object each.

    A process that was forked shares them for good: reading a string would write its reference count, and so copy the page
    that it lies on. Equal to any sequence of the same names.

    Args:
        content: The names in UTF-8 (bytes of a file system that are not are kept as they are), joined by zero bytes.
        count: How many they are: no name and one empty name have the same content.
    """

    def __init__(self, content: UInt8[np.ndarray, " bytes"], count: int) -> None:
        self.content = content
        ends = np.append(np.flatnonzero(content == 0), len(content)) if count else np.empty(0)
        if len(ends) != count or (not count and len(content)):
            raise ValueError(f"{len(content):,} bytes with {len(ends):,} names for {count:,} records")
        self._ends: UInt32[np.ndarray, " N"] = ends.astype(np.uint32)

    @classmethod
    def of(cls, names: Iterable[str]) -> "PackedKeys":
        """Pack names, none of which holds a zero byte."""
        listed = list(names)
        content = "\0".join(listed).encode("utf-8", "surrogateescape")
        return cls(np.frombuffer(content, np.uint8), len(listed))

    @property
    def num_bytes(self) -> int:
        """Memory that the names take."""
        return self.content.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        start = int(self._ends[at - 1]) + 1 if at else 0
        return self.content[start : int(self._ends[at])].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # equal to lists too
