"""Time five two-label dense CRFs on one image against five calls of pydensecrf2, and check the labels.

The image and settings are SimSeg's: 288 x 288 pixels, five class maps, three steps. Ours builds the
lattice of colours anew for every image, as it must, but keeps that of positions; pydensecrf2 builds
both in every call, as its users do. It has one thread; ours is timed with one and with two.

Needs pydensecrf2 (the extra crf).

    OMP_NUM_THREADS=1 python benchmarks/speed/dense_crf.py
"""

from pathlib import Path

import numpy as np
import torch
from pydensecrf.densecrf import DenseCRF2D
from skimage import data, transform
from timing import Row, compare, print_rows, write_json

from lexiseg.ops.dense_crf import CrfSettings, DenseCrf

SIDE, GRID, NUM_MAPS = 288, 18, 5


def images() -> dict[str, np.ndarray]:
    """Return two photographs, noise (the worst case: hardly two pixels share a vertex) and flat blocks."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return {
        "photograph (coffee)": squeezed(data.coffee()),
        "photograph (astronaut)": squeezed(data.astronaut()),
        "noise": generator.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8),
        "piecewise constant": blocks.repeat(SIDE // 4, axis=0).repeat(SIDE // 4, axis=1),
    }


def squeezed(photo: np.ndarray) -> np.ndarray:
    return (255 * transform.resize(photo, (SIDE, SIDE), anti_aliasing=True)).round().astype(np.uint8)


def class_maps() -> np.ndarray:
    """Return smooth maps in 0..1 on a grid of patches, repeated to the size of the image."""
    coarse = torch.rand(1, NUM_MAPS, 5, 5, generator=torch.Generator().manual_seed(0))
    grid = torch.nn.functional.interpolate(coarse, size=(GRID, GRID), mode="bicubic")[0].numpy()
    low, high = grid.min(axis=(1, 2), keepdims=True), grid.max(axis=(1, 2), keepdims=True)
    patch = SIDE // GRID
    return ((grid - low) / (high - low)).repeat(patch, axis=1).repeat(patch, axis=2)


def peer_masks(image: np.ndarray, maps: np.ndarray, settings: CrfSettings) -> np.ndarray:
    masks = np.empty(maps.shape, bool)
    for mask, foreground in zip(masks, maps, strict=True):
        crf = DenseCRF2D(SIDE, SIDE, 2)
        energies = -np.log(np.stack([foreground, 1 - foreground]) + np.float32(1e-8))
        crf.setUnaryEnergy(energies.reshape(2, -1))
        crf.addPairwiseGaussian(sxy=settings.gaussian_std, compat=settings.gaussian_weight)
        crf.addPairwiseBilateral(
            sxy=settings.bilateral_std,
            srgb=settings.colour_std,
            rgbim=image,
            compat=settings.bilateral_weight,
        )
        mask[:] = np.asarray(crf.inference(settings.num_steps)).argmax(axis=0).reshape(mask.shape) == 0
    return masks


def main() -> None:
    settings, maps = CrfSettings(), class_maps()
    rows: list[Row] = []
    for name, image in images().items():

        def peer(image: np.ndarray = image) -> np.ndarray:
            return peer_masks(image, maps, settings)

        def ours(image: np.ndarray = image) -> np.ndarray:
            return DenseCrf(image, settings).binary(maps)

        def ours_threaded(image: np.ndarray = image) -> np.ndarray:
            torch.set_num_threads(2)
            try:
                return DenseCrf(image, settings).binary(maps)
            finally:
                torch.set_num_threads(1)

        expected, found = peer(), ours()
        assert np.array_equal(found, ours_threaded())
        functions = {"DenseCrf": ours, "DenseCrf, 2 threads": ours_threaded, "pydensecrf2, five calls": peer}
        facts = {"same_labels": round(float((expected == found).mean()), 6)}
        facts["changed_by_crf"] = round(float((found != (maps >= 0.5)).mean()), 3)
        rows += compare(functions, repeats=9, image=name, **facts)
    print_rows(rows, f"{NUM_MAPS} two-label CRFs, {SIDE} x {SIDE}, {settings.num_steps} steps")
    write_json(Path(__file__).with_suffix(".json"), rows, ["numba", "numpy", "pydensecrf2", "scikit-image"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
