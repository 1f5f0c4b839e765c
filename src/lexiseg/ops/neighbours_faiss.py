"""Approximate nearest neighbours by faiss (Johnson et al., "Billion-scale similarity search with GPUs", 2019).

Two kinds: ``ivf`` (IVF-Flat: the index in cells around k-means centres, of which a query visits the nearest few) and
``hnsw`` (a graph of neighbours: Malkov and Yashunin, 2018). How far a query looks is not guessed but measured: it is
doubled until the recall against the exact search is what was asked for. Cosines and order are computed exactly
afterwards, as for the exact search (``ops.neighbours``).
"""

import importlib.util
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import DatasetError, MissingPackageError
from lexiseg.ops.neighbours import ExactSearch, NeighbourSearch, VectorRows, recall, unit_rows

FaissKind = Literal["ivf", "hnsw"]

#: Rows of the index for which k-means looks at each centre; faiss warns below 39.
_ROWS_A_CENTRE = 64
#: Links of each vector in the graph, and candidates looked at while it is built.
_LINKS, _BUILD_WIDTH = 32, 128
#: Queries by which the width of the search is set.
_MEASURED = 512
_BLOCK = 65_536


def build_faiss(index: VectorRows, kind: FaissKind, path: Path, *, seed: int = 0) -> None:
    """Build an index of faiss and write it, whole or not at all.

    It stands in memory while it is built: 4 bytes a number, 2 GB for a million vectors of 512. The graph is built
    by one thread, since several would give another graph every time.

    Args:
        index: The vectors.
        kind: ``ivf`` or ``hnsw``.
        path: File to write.
        seed: Of k-means.

    Raises:
        MissingPackageError: faiss is not installed.
    """
    faiss = _faiss(f"building the index {path}")
    if kind == "ivf":
        cells = max(1, min(round(4 * math.sqrt(len(index))), len(index) // _ROWS_A_CENTRE))
        built = faiss.index_factory(index.dim, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        built.cp.seed = seed
        built.cp.min_points_per_centroid = 1
        wanted = np.linspace(0, len(index) - 1, min(len(index), cells * _ROWS_A_CENTRE)).astype(np.int64)
        built.train(unit_rows(index.take(wanted)))
    else:
        built = faiss.index_factory(index.dim, f"HNSW{_LINKS},Flat", faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction = _BUILD_WIDTH
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if kind == "hnsw" else threads)
    try:
        for start in range(0, len(index), _BLOCK):
            built.add(unit_rows(index.block(start, min(start + _BLOCK, len(index)))))
    finally:
        faiss.omp_set_num_threads(threads)
    with atomic_path(path) as temporary:
        faiss.write_index(built, str(temporary))


class FaissSearch(NeighbourSearch):
    """Searches an index that ``build_faiss`` wrote; cells are read from disk as they are visited.

    Args:
        index: The vectors that it was built from.
        kind: ``ivf`` or ``hnsw``.
        path: The file.
        width: How far a query looks: cells visited, or candidates kept. ``widen`` finds it.

    Raises:
        MissingPackageError: faiss is not installed.
        DatasetError: The file is damaged, or was built from other vectors.
    """

    def __init__(self, index: VectorRows, kind: FaissKind, path: Path, *, width: int = 1) -> None:
        faiss = _faiss(f"reading the index {path}")
        self.index, self.kind = index, kind
        try:
            flags = faiss.IO_FLAG_MMAP if kind == "ivf" else 0
            self._built: Any = faiss.read_index(str(path), flags)
        except RuntimeError as error:
            raise _damaged(path, str(error).splitlines()[-1][:200]) from error
        if (self._built.ntotal, self._built.d) != (len(index), index.dim):
            found = f"{self._built.ntotal:,} vectors of length {self._built.d}"
            raise _damaged(path, found, f"the {len(index):,} vectors of length {index.dim} that are there")
        self.width = width

    @property
    def most(self) -> int:
        """Width from which on nothing is left out."""
        return int(self._built.nlist) if self.kind == "ivf" else len(self.index)

    def candidates(self, queries: Float32[np.ndarray, "Q D"], count: int) -> Int64[np.ndarray, "Q C"]:
        """Find about the ``count`` nearest rows."""
        if self.kind == "ivf":
            self._built.nprobe = min(self.width, self.most)
        else:
            self._built.hnsw.efSearch = max(self.width, count)
        return self._built.search(queries, count)[1]

    def widen(self, queries: np.ndarray, n: int, wanted: float) -> float:
        """Double the width until the recall against the exact search is what is wanted.

        Args:
            queries: Some of those that will be searched, such as ``sample_rows`` chooses.
            n: Neighbours that will be asked for.
            wanted: Recall, 0..1.

        Returns:
            The recall reached; below ``wanted`` only where the whole index is looked at.
        """
        exact = ExactSearch(self.index).search(queries, n).rows
        while (reached := recall(self.search(queries, n).rows, exact)) < wanted and self.width < self.most:
            self.width = min(2 * self.width, self.most)
        return reached


def sample_rows(count: int) -> Int64[np.ndarray, " R"]:
    """Choose rows to set a width by, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(_MEASURED, count)).astype(np.int64))


def _faiss(doing: str) -> Any:
    if importlib.util.find_spec("faiss") is None:
        raise MissingPackageError.of("faiss", doing=doing, extra="retrieval")
    import faiss

    return faiss


def _damaged(path: Path, found: str, expected: str = "an index that faiss can read") -> DatasetError:
    return DatasetError(
        doing=f"reading the index {path}",
        found=found,
        expected=expected,
        fix="Delete it and run the same command again: it is built anew.",
    )
