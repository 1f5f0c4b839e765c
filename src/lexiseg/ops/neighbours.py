"""Nearest neighbours by cosine: exact, in memory that does not grow with the index, the same bits every time.

The index is read in blocks, from memory or from disk. Each block is one matrix product with the queries, and its
similarities are merged into the best found so far. A few spare candidates are carried along; at the end the
candidates' cosines are computed again in one fixed order of additions (``ops.dot_kernels``), and of these the best
are taken: by similarity, and of equals the lower row first. So neither the size of blocks nor the number of threads
changes the result, unless more vectors than there are spare places agree to seven digits with the last one taken.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from lexiseg.core.errors import InputError
from lexiseg.ops.neighbours_kernels import merge_block, rescore
from lexiseg.ops.row_bands import for_bands

#: Candidates carried beside those asked for.
SPARE = 8
#: Rows of the index in one matrix product, and queries in one.
BLOCK, QUERIES = 8192, 2048
#: Queries whose candidates are gathered at once.
_GATHERED = 512


@runtime_checkable
class VectorRows(Protocol):
    """Rows of vectors that are read in pieces, such as memory-mapped files; of any length but zero."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def __len__(self) -> int: ...

    def block(self, start: int, stop: int) -> np.ndarray:
        """Read rows ``start`` to ``stop`` (exclusive), float16 or float32."""

    def take(self, rows: Int64[np.ndarray, " R"]) -> np.ndarray:
        """Read rows by number, in that order, float16 or float32."""


class ArrayRows:
    """Rows of an array in memory, or of one memory-mapped file."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self.dim = int(vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Read rows ``start`` to ``stop``."""
        return self.vectors[start:stop]

    def take(self, rows: Int64[np.ndarray, " R"]) -> np.ndarray:
        """Read rows by number."""
        return self.vectors[rows]


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """The nearest rows of an index to each query.

    Attributes:
        rows: Row numbers, the nearest first; of equally near ones the lower number first.
        similarities: Their cosines.
    """

    rows: Int64[np.ndarray, "Q N"]
    similarities: Float32[np.ndarray, "Q N"]


class NeighbourSearch(ABC):
    """What finds nearest neighbours: ``ExactSearch``, or ``ops.neighbours_faiss.FaissSearch``.

    Attributes:
        index: What is searched.
    """

    index: VectorRows

    @abstractmethod
    def candidates(self, queries: Float32[np.ndarray, "Q D"], count: int) -> Int64[np.ndarray, "Q C"]:
        """Find about the ``count`` nearest rows of each query, in any order; -1 where there is none."""

    def search(self, queries: np.ndarray, n: int) -> Neighbours:
        """Find the ``n`` nearest rows of each query, or all where the index has fewer.

        Args:
            queries: Float16 or float32 rows, of any length but zero.
            n: Neighbours wanted.

        Raises:
            InputError: The index is empty, ``n`` is not positive, or queries are of another length.
        """
        if n < 1 or len(self.index) == 0 or queries.shape[1] != self.index.dim:
            raise InputError(
                doing="searching nearest neighbours",
                found=f"n = {n}, an index of {len(self.index):,} vectors of length {self.index.dim}, "
                f"queries of length {queries.shape[1]}",
                expected="one neighbour or more, one vector or more, queries as long as the vectors of the index",
                fix="Ask for at least one, and search an index that the same encoder wrote.",
            )
        n = min(n, len(self.index))
        found = self.candidates(unit_rows(queries), min(n + SPARE, len(self.index)))
        rows = np.full((len(queries), n), -1, np.int64)
        similarities = np.full((len(queries), n), -np.inf, np.float32)
        for first in range(0, len(queries), _GATHERED):
            part = slice(first, first + _GATHERED)
            numbers = found[part].copy()
            near = _as_float32(self.index.take(np.maximum(numbers, 0).ravel())).reshape(*numbers.shape, -1)
            ours = _as_float32(queries[part])
            into = rows[part], similarities[part]
            for_bands(lambda a, b: rescore(ours, near, numbers, *into, a, b), len(ours), min_rows=16)  # noqa: B023
        return Neighbours(rows=rows, similarities=similarities)


class ExactSearch(NeighbourSearch):
    """Compares every query with every row of the index.

    Args:
        index: What is searched.
        device: Where matrix products are computed.
        block: Rows of the index in one product; with ``QUERIES`` it sets the memory: 64 MB at 8,192.
    """

    def __init__(self, index: VectorRows, *, device: torch.device | str = "cpu", block: int = BLOCK) -> None:
        self.index, self.device, self.size = index, torch.device(device), block

    def candidates(self, queries: Float32[np.ndarray, "Q D"], count: int) -> Int64[np.ndarray, "Q C"]:
        """Find the ``count`` nearest rows; the index is read once whatever the number of queries."""
        if self.device.type != "cpu":
            return _candidates_by_topk(queries, self.index, count, self.size, self.device)
        best = np.full((len(queries), count), -np.inf, np.float32)
        rows = np.full((len(queries), count), -1, np.int64)
        product = torch.empty(QUERIES * self.size)
        sent = torch.from_numpy(queries)
        for start in range(0, len(self.index), self.size):
            near = torch.from_numpy(
                unit_rows(self.index.block(start, min(start + self.size, len(self.index))))
            )
            for first in range(0, len(queries), QUERIES):
                part = sent[first : first + QUERIES]
                into = product[: len(part) * len(near)].view(len(part), len(near))
                torch.mm(part, near.T, out=into)
                kept = into.numpy(), start, best[first : first + QUERIES], rows[first : first + QUERIES]
                for_bands(lambda a, b: merge_block(*kept, a, b), len(part), min_rows=16)  # noqa: B023
        return rows


def _candidates_by_topk(
    queries: Float32[np.ndarray, "Q D"], index: VectorRows, count: int, size: int, device: torch.device
) -> Int64[np.ndarray, "Q C"]:
    """Do the same with top-k on a device: queries and the best so far stay there, blocks are sent as they are."""
    sent = torch.from_numpy(queries).to(device)
    best = torch.full((len(queries), count), -torch.inf, device=device)
    rows = torch.full((len(queries), count), -1, dtype=torch.int64, device=device)
    for start in range(0, len(index), size):
        block = _tensor(index.block(start, min(start + size, len(index))))
        near = torch.nn.functional.normalize(block.to(device).float(), dim=-1)
        numbers = torch.arange(start, start + len(near), device=device)
        for first in range(0, len(queries), QUERIES):
            part = slice(first, first + QUERIES)
            values, places = lowest_topk(sent[part] @ near.T, min(count, len(near)))
            values = torch.cat([best[part], values], dim=1)
            merged = torch.cat([rows[part], numbers[places]], dim=1)
            best[part], order = lowest_topk(values, count)
            rows[part] = merged.gather(1, order)
    return rows.cpu().numpy()


def lowest_topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the ``k`` largest of each row, where ``torch.topk`` may choose any of equals the first ones.

    Returns:
        Values, largest first, and their columns; equals by column.
    """
    top, columns = values.topk(k, dim=1)
    last = top[:, -1:]
    unclear = (values >= last).sum(dim=1) > k
    if bool(unclear.any()):
        again, order = values[unclear].sort(dim=1, descending=True, stable=True)
        top[unclear], columns[unclear] = again[:, :k], order[:, :k]
    # equals within the k: by column
    by_column = columns.argsort(dim=1, stable=True)
    top, columns = top.gather(1, by_column), columns.gather(1, by_column)
    order = top.argsort(dim=1, descending=True, stable=True)
    return top.gather(1, order), columns.gather(1, order)


def _as_float32(vectors: np.ndarray) -> Float32[np.ndarray, "R D"]:
    return _tensor(vectors).float().numpy()  # five times numpy's speed


def _tensor(vectors: np.ndarray) -> Tensor:
    writable = (
        vectors if vectors.flags.writeable else vectors.copy()
    )  # torch warns of what is mapped read-only
    return torch.from_numpy(np.ascontiguousarray(writable))


def unit_rows(vectors: np.ndarray) -> Float32[np.ndarray, "R D"]:
    """Make rows unit length in single precision; zero rows stay zero."""
    rows = _tensor(vectors).float()
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def recall(found: Sequence[Sequence[int]] | np.ndarray, exact: Sequence[Sequence[int]] | np.ndarray) -> float:
    """Compute the share of the exact neighbours that were found, over all queries."""
    hits = sum(len(set(map(int, a)) & set(map(int, b))) for a, b in zip(found, exact, strict=True))
    return hits / max(1, sum(len(row) for row in exact))
