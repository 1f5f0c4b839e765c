"""Mapper: how a function is applied to many inputs, here or by others."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

Input = TypeVar("Input")


class Mapper(Protocol):
    """``map``, or what does the same by several processes: results in the order of the inputs."""

    def __call__(self, function: Callable[[Input], Any], inputs: Sequence[Input], /) -> Iterator[Any]:
        """Apply a function to every input."""
