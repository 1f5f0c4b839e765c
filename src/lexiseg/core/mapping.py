"""Mapper: how a function is applied to many inputs, here or by others."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

#: ``map``, or what does the same by several processes: results in the order of the inputs, of which none is left out.
Mapper: TypeAlias = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
