"""Names of millions of records in one buffer of bytes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from jaxtyping import UInt32


class PackedKeys(Sequence[str]):
    """Names, read-only, in one buffer instead of an object each.

    A process that was forked shares it for good: reading a string would write its reference count, and so copy the page
    that it lies on. Equal to any sequence of the same names.

    Args:
        content: The names in UTF-8 (bytes of a file system that are not are kept as they are), joined by zero bytes.
        count: How many they are: no name and one empty name have the same content.
    """

    def __init__(self, content: bytes, count: int) -> None:
        self.content = content
        found = np.flatnonzero(np.frombuffer(content, np.uint8) == 0)
        ends = np.append(found, len(content)) if count else np.empty(0)
        if len(ends) != count or (not count and content):
            raise ValueError(f"{len(content):,} bytes with {len(ends):,} names for {count:,} records")
        self._ends: UInt32[np.ndarray, " N"] = ends.astype(np.uint32)

    @classmethod
    def of(cls, names: Iterable[str]) -> "PackedKeys":
        """Pack names, none of which holds a zero byte."""
        listed = list(names)
        return cls("\0".join(listed).encode("utf-8", "surrogateescape"), len(listed))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self._ends))[index]
        start = self._ends.item(at - 1) + 1 if at else 0
        return self.content[start : self._ends.item(at)].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return iter(self.content.decode("utf-8", "surrogateescape").split("\0") if len(self) else [])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # equal to lists too
