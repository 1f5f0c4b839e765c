"""Label maps to time counting and encoding on: drawn regions, real annotations, noise."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from scipy.spatial import cKDTree

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset

LabelMap = UInt16[np.ndarray, "H W"]

COCO_FREE = Path(__file__).parents[2].parent / "shared" / "data" / "coco-free"


def draw_regions(size: tuple[int, int], num_regions: int, num_classes: int, seed: int) -> LabelMap:
    """Draw the Voronoi cells of random points, each of a random class."""
    height, width = size
    generator = np.random.default_rng(seed)
    points = generator.random((num_regions, 2)) * size
    labels = generator.integers(0, num_classes, num_regions).astype(np.uint16)
    pixels = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2)
    return labels[cKDTree(points).query(pixels)[1]].reshape(size)


def draw_noise(size: tuple[int, int], num_classes: int, seed: int) -> LabelMap:
    """Draw every pixel by itself: no runs at all."""
    return np.random.default_rng(seed).integers(0, num_classes, size).astype(np.uint16)


def shift(label_map: LabelMap, pixels: int) -> LabelMap:
    """Make a prediction whose borders are ``pixels`` off, without void."""
    moved = np.roll(label_map, (pixels, pixels), (0, 1))
    return np.where(moved == IGNORE_INDEX, np.uint16(0), moved)


def read_annotations(count: int) -> list[LabelMap]:
    """Read label maps of COCO photographs; an empty list, said aloud, where the folder is absent."""
    if not COCO_FREE.is_dir():
        print(f"real label maps left out: no {COCO_FREE}")
        return []
    dataset = FolderDataset(COCO_FREE, labels="only")
    maps = [dataset[index].label_map for index in range(min(count, len(dataset)))]
    return [label_map for label_map in maps if label_map is not None]
