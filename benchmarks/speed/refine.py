"""Time the edge-aware refinement on a photograph of 640 x 480, by the number of classes that win."""

from pathlib import Path

import numpy as np
import torch
from skimage import data, transform
from timing import Row, compare, print_rows, write_json

from lexiseg.inference.refine import refine_labels
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_scores

SIZE = (480, 640)
GRID = (28, 38)


def main() -> None:
    photo = transform.resize(data.coffee(), SIZE, anti_aliasing=True)
    image = (255 * photo).round().astype(np.uint8)
    rows: list[Row] = []
    for num_classes in (2, 10, 32, 150):
        coarse = torch.randn(1, num_classes, 7, 9, generator=torch.Generator().manual_seed(0))
        scores = resize_scores(coarse, GRID)[0]

        def plain(scores: torch.Tensor = scores) -> RunningBest:
            return resize_argmax(scores, SIZE)

        def refined(scores: torch.Tensor = scores) -> RunningBest:
            return refine_labels(scores, image)

        winners = len(scores.argmax(dim=0).unique())
        rows += compare({"resize_argmax": plain, "refine_labels": refined}, winners=winners)
    print_rows(rows, f"Refinement, {SIZE[1]} x {SIZE[0]}, grid {GRID[1]} x {GRID[0]}")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "numba", "numpy", "scikit-image"])


if __name__ == "__main__":
    main()
