"""Label pixels alike that lie near each other and have like colours: a fully connected CRF.

Mean-field inference of Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian
Edge Potentials" (NeurIPS 2011): each pixel repeatedly hears, from every other pixel, how probable its
labels are, weighted by a Gaussian of position and by one of position and colour. Potts compatibility,
symmetric normalisation, both kernels on a permutohedral lattice: the same labels as the package
pydensecrf2 on all but a few pixels in ten thousand, without a compiler (``benchmarks/speed/dense_crf.py``).

The lattices depend only on the image, so one ``DenseCrf`` serves any number of label problems; the
lattice of positions depends only on the size and is kept from image to image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import no_type_check

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float32, UInt8

from lexiseg.core.compiled import njit
from lexiseg.core.errors import InputError
from lexiseg.ops.lanes import LANES
from lexiseg.ops.permutohedral import PermutohedralLattice
from lexiseg.ops.row_bands import for_bands

#: Added to probabilities before the logarithm; a pixel that is surely one label has energy 18.42 for others.
_FLOOR = np.float32(1e-8)
_MIN_ROWS = 8192  # fewer pixels are not worth a thread


@dataclass(frozen=True, kw_only=True)
class CrfSettings:
    """The two Gaussians and how long they work. The defaults are those of SimSeg (CVPR 2023).

    Attributes:
        gaussian_std: Standard deviation of the kernel on positions, in pixels.
        gaussian_weight: Weight of the kernel on positions; 0 leaves it out.
        bilateral_std: Standard deviation of the kernel on positions and colours, in pixels.
        colour_std: Standard deviation of that kernel in colour, in steps of 0..255.
        bilateral_weight: Weight of the kernel on positions and colours; 0 leaves it out.
        num_steps: Number of mean-field iterations.
    """

    gaussian_std: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_std: float = 40.0
    colour_std: float = 13.0
    bilateral_weight: float = 10.0
    num_steps: int = 3


_DEFAULT = CrfSettings()


class DenseCrf:
    """The CRF of one image: ``infer`` for one problem of many labels, ``binary`` for many yes-or-no ones.

    Args:
        image: The image, RGB, 0..255.
        settings: Standard deviations, weights and number of iterations.

    Raises:
        InputError: A standard deviation is so small that the lattice cannot be built.
    """

    def __init__(self, image: UInt8[np.ndarray, "H W 3"], settings: CrfSettings = _DEFAULT) -> None:
        self.size = (image.shape[0], image.shape[1])
        self.settings = settings
        self._kernels: list[tuple[float, PermutohedralLattice]] = []
        if settings.gaussian_weight:
            self._kernels.append(
                (settings.gaussian_weight, _position_lattice(*self.size, settings.gaussian_std))
            )
        if settings.bilateral_weight:
            positions = _positions(*self.size, settings.bilateral_std)
            colours = rearrange(image, "y x c -> c (y x)") / np.float32(settings.colour_std)
            lattice = PermutohedralLattice.build(np.concatenate([positions, colours]))
            self._kernels.append((settings.bilateral_weight, lattice.normalised()))

    def infer(self, unary: Float32[np.ndarray, "K H W"]) -> Float32[np.ndarray, "K H W"]:
        """Return the probabilities of labels after mean-field inference.

        Args:
            unary: Energy of each label at each pixel: minus the logarithm of its probability.

        Raises:
            InputError: An energy is not finite, or the size is not the image's.
        """
        self._check("energies", unary, np.isfinite(unary).all(), "finite numbers")
        given = self._lanes(-unary, fill=-np.inf)
        beliefs = self._mean_field(given, _softmax)
        return rearrange(beliefs[:, : len(unary)], "(y x) k -> k y x", y=self.size[0]).copy()

    def binary(self, foreground: Float32[np.ndarray, "M H W"]) -> Bool[np.ndarray, "M H W"]:
        """Decide ``M`` independent questions of two labels each, all in the same passes.

        Equal to ``M`` calls of ``infer`` with the energies of ``foreground`` and of its rest, at the cost
        of one label for each question: only the difference of the two labels matters.

        Args:
            foreground: Probability of "yes" at each pixel, 0..1.

        Returns:
            Where "yes" is at least as probable as "no".

        Raises:
            InputError: A probability is not in 0..1, or the size is not the image's.
        """
        usable = bool(((foreground >= 0) & (foreground <= 1)).all())
        self._check("foreground probabilities", foreground, usable, "numbers from 0 to 1")
        odds = np.log(foreground + _FLOOR) - np.log(1 - foreground + _FLOOR)
        beliefs = self._mean_field(self._lanes(odds, fill=0.0), _differences)
        return rearrange(beliefs[:, : len(foreground)] >= 0, "(y x) m -> m y x", y=self.size[0]).copy()

    def _lanes(self, maps: Float32[np.ndarray, "K H W"], fill: float) -> Float32[np.ndarray, "N L"]:
        """Put the maps side by side for each pixel, and fill up to a multiple of what is filtered at once."""
        lanes = np.empty((self.size[0] * self.size[1], -(-len(maps) // LANES) * LANES), np.float32)
        lanes[:, : len(maps)] = rearrange(maps, "k y x -> (y x) k")
        lanes[:, len(maps) :] = fill
        return lanes

    def _mean_field(
        self, given: Float32[np.ndarray, "N L"], believe: Callable[..., None]
    ) -> Float32[np.ndarray, "N L"]:
        """Turn scores into beliefs and add what all pixels believe to the scores, step by step."""
        beliefs, scores = np.empty_like(given), given
        for_bands(partial(believe, scores, beliefs), len(given), min_rows=_MIN_ROWS)
        for _ in range(self.settings.num_steps):
            scores = given.copy()
            for weight, lattice in self._kernels:
                lattice.add_filtered(beliefs, weight, scores)
            for_bands(partial(believe, scores, beliefs), len(given), min_rows=_MIN_ROWS)
        return beliefs

    def _check(self, what: str, maps: np.ndarray, usable: bool | np.bool_, expected: str) -> None:
        if maps.shape[1:] != self.size:
            found = f"{what} of {maps.shape[2]} x {maps.shape[1]} pixels"
            expected = f"the image's {self.size[1]} x {self.size[0]}"
        elif not usable:
            found = f"{what} from {np.min(maps)} to {np.max(maps)}"
        else:
            return
        raise InputError(
            doing="labelling with a dense CRF",
            found=found,
            expected=expected,
            fix="Resize the maps to the image, and look for the step that made values not a number.",
        )


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def _exp(x):
    """Return e^x for x <= 0, within 2e-7 of it in ratio, in a form that loops over it can be vectorised."""
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = (x - whole * np.float32(0.693359375)) + whole * np.float32(2.12194440e-4)  # ln 2 in two parts
    # Taylor's series to the seventh power; the rest is at most ln(2) / 2.
    value = np.float32(1 / 5040)
    for term in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        value = value * rest + np.float32(term)
    power = np.int32((np.int32(max(whole, np.float32(-126))) + np.int32(127)) << np.int32(23))
    return value * power.view(np.float32) if x > np.float32(-87) else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _softmax(scores, beliefs, start, stop):
    for point in range(start, stop):
        highest = scores[point, 0]
        for lane in range(scores.shape[1]):
            highest = max(highest, scores[point, lane])
        total = np.float32(0)
        for lane in range(scores.shape[1]):
            value = _exp(scores[point, lane] - highest)
            beliefs[point, lane] = value
            total += value
        for lane in range(scores.shape[1]):
            beliefs[point, lane] /= total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def _differences(scores, beliefs, start, stop):
    """Return the probability of "yes" minus that of "no" from log odds."""
    flat, found = scores.reshape(-1), beliefs.reshape(-1)
    for at in range(start * scores.shape[1], stop * scores.shape[1]):
        other = _exp(-abs(flat[at]))  # how much less probable the lesser one is
        size = (np.float32(1) - other) / (np.float32(1) + other)
        found[at] = np.copysign(size, flat[at])


def _positions(height: int, width: int, std: float) -> Float32[np.ndarray, "2 N"]:
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(std)
    return np.stack([x.ravel(), y.ravel()])


# Some 50 bytes a pixel: a handful of sizes is kept, enough for a model that squeezes all images to one.
@lru_cache(maxsize=4)
def _position_lattice(height: int, width: int, std: float) -> PermutohedralLattice:
    return PermutohedralLattice.build(_positions(height, width, std)).normalised()
