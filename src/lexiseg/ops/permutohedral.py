"""Gaussian filtering of many values at once among points in a space of few dimensions.

The permutohedral lattice (Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral
Lattice", Eurographics 2010) replaces the sum over all pairs of points by three sparse linear steps:
*splat* each point onto the ``D + 1`` corners of the simplex around it, *blur* the vertices with
(1/4, 1/2, 1/4) along each of the ``D + 1`` lattice directions, *slice* back with the same weights. Cost is
linear in points and vertices. Vertices that are no point's corner are left out, as in the paper.

How it is made fast here: a vertex is one 64-bit number, its coordinates side by side, so that a step to
another vertex is one addition and looking it up one comparison. Values lie vertex by vertex with
``LANES`` channels side by side. Splatting adds up, for each vertex, its points in a fixed order, so that
the result does not depend on the number of threads.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float32, Int32

from lexiseg.core.errors import InputError
from lexiseg.ops import permutohedral_kernels as kernels
from lexiseg.ops.lanes import LANES
from lexiseg.ops.row_bands import for_bands

_KEY_BITS = 62
_MIN_ROWS = 8192  # less work than this is not worth a thread


@dataclass(frozen=True, eq=False)
class PermutohedralLattice:
    """A lattice around ``N`` points. ``build`` makes one; ``filter`` uses it any number of times.

    Attributes:
        corners: For each point the vertices around it, counted from 1.
        weights: For each point the weight of each of these; they sum to 1 until ``normalised``.
        first: Where each vertex's points start in the next two. Vertex 0 stands for all that do
            not exist; it has no points.
        members: The points that have this vertex as a corner, vertex by vertex.
        member_weights: Their weights for it.
        neighbours: For each lattice direction and vertex the next vertices on both sides, or 0.
    """

    corners: Int32[np.ndarray, "N corners"]
    weights: Float32[np.ndarray, "N corners"]
    first: Int32[np.ndarray, " vertices_plus_2"]
    members: Int32[np.ndarray, " entries"]
    member_weights: Float32[np.ndarray, " entries"]
    neighbours: Int32[np.ndarray, "corners vertices_plus_1 2"]

    @classmethod
    def build(cls, features: Float32[np.ndarray, "D N"]) -> "PermutohedralLattice":
        """Build the lattice around points, one a column.

        Args:
            features: Coordinates of the points in units of the Gaussian's standard deviation.

        Raises:
            InputError: A coordinate is not finite, or the points lie too far apart for vertices to be
                numbered: some 300 standard deviations in five dimensions, 10^8 in two.
        """
        # Elevate the points and find the simplex of each.
        dimensions, num_points = features.shape
        elevation = _elevation(dimensions)
        bits = _KEY_BITS // dimensions
        origin = _origin(features, elevation, bits)
        keys = np.empty(num_points, np.int64)
        orders = np.empty(num_points, np.int32)
        weights = np.empty((num_points, dimensions + 1), np.float32)
        scales = tuple(elevation[0].astype(np.float32))
        locate = partial(kernels.locate, features, scales, origin, bits, keys, orders, weights)
        for_bands(locate, num_points, min_rows=_MIN_ROWS)
        # Number the vertices, and list the points of each.
        corners = np.empty((num_points, dimensions + 1), np.int32)
        vertices, table = kernels.number_vertices(keys, orders, bits, corners)
        first, members, member_weights = kernels.by_vertex(corners, weights, len(vertices))
        # Find the neighbours that the blur adds up.
        neighbours = np.zeros((dimensions + 1, len(vertices), 2), np.int32)
        find = partial(kernels.find_neighbours, vertices, table, bits, neighbours)
        for_bands(find, len(vertices), min_rows=_MIN_ROWS)
        return cls(corners, weights, first, members, member_weights, neighbours)

    @property
    def num_vertices(self) -> int:
        """Vertices that are a corner of some point's simplex."""
        return len(self.first) - 2

    def normalised(self) -> "PermutohedralLattice":
        """Filter with ``n K n`` in place of ``K``, where ``n`` is one over the root of ``K`` times ones.

        This is the symmetric normalisation of Krähenbühl and Koltun (ICML 2013).
        """
        norm = 1 / np.sqrt(self.filter(np.ones((len(self.corners), 1), np.float32)) + np.float32(1e-20))
        return replace(
            self,
            weights=self.weights * norm,
            member_weights=self.member_weights * norm[self.members, 0],
        )

    def filter(self, values: Float32[np.ndarray, "N C"]) -> Float32[np.ndarray, "N C"]:
        """Add up, for every point, the values of all points, weighted by a Gaussian of their distance.

        A value may be of any size and sign. The weights are those of the Gaussian but for a constant
        factor and the approximation of the lattice (a few percent).
        """
        lanes = np.zeros((len(values), -(-values.shape[1] // LANES) * LANES), np.float32)
        lanes[:, : values.shape[1]] = values
        total = np.zeros_like(lanes)
        self.add_filtered(lanes, 1.0, total)
        return total[:, : values.shape[1]]

    def add_filtered(
        self, values: Float32[np.ndarray, "N L"], factor: float, total: Float32[np.ndarray, "N L"]
    ) -> None:
        """Filter a multiple of ``LANES`` channels and add ``factor`` times the result to ``total``, in place."""
        num_rows = self.num_vertices + 1
        here, there = np.empty((2, num_rows, LANES), np.float32)
        # The blur's taps are 1/2, 1, 1/2; the divisor is that of Adams et al., so that weights compare.
        scale = np.float32(factor / (1 + 2.0 ** (1 - self.corners.shape[1])))
        for column in range(0, values.shape[1], LANES):
            # Splat, blur along every direction, slice back: LANES channels at a time.
            splat = partial(
                kernels.splat, values, column, self.first, self.members, self.member_weights, here
            )
            for_bands(splat, num_rows, min_rows=_MIN_ROWS)
            for direction in self.neighbours:
                for_bands(partial(kernels.blur, here, direction, there), num_rows, min_rows=_MIN_ROWS)
                here, there = there, here
            slice_back = partial(kernels.slice_back, here, self.corners, self.weights, scale, total, column)
            for_bands(slice_back, len(total), min_rows=_MIN_ROWS)


def _elevation(dimensions: int) -> np.ndarray:
    """Return the matrix (D + 1) × D that maps features onto the lattice's plane, where coordinates sum to 0.

    Column ``j`` is orthogonal to the others; the length is such that blurring gives unit variance.
    """
    index = np.arange(1, dimensions + 1)
    scales = np.sqrt(2 / 3) * (dimensions + 1) / np.sqrt(index * (index + 1))
    matrix = np.triu(np.ones((dimensions + 1, dimensions)))
    matrix[index, index - 1] = -index
    return matrix * scales


def _origin(features: np.ndarray, elevation: np.ndarray, bits: int) -> np.ndarray:
    """Find the smallest lattice coordinates that can occur, neighbours included; they are counted from."""
    corners = elevation.shape[0]
    low, high = features.min(axis=1, initial=0), features.max(axis=1, initial=0)
    finite = bool(np.isfinite(low).all() and np.isfinite(high).all())
    ends = np.stack([elevation * low, elevation * high]) if finite else np.zeros((2, *elevation.shape))
    smallest, largest = ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
    if not finite or (largest - smallest).max() >= 2**bits - 6 * corners:
        raise InputError(
            doing="building a permutohedral lattice",
            found=f"points from {low.tolist()} to {high.tolist()}, in standard deviations",
            expected=f"finite points, at most some {2**bits // 14} standard deviations apart",
            fix="Give values that are numbers, or larger standard deviations.",
        )
    return np.floor(smallest[:-1]).astype(np.int64) - 3 * corners
