"""Resize class scores and take the best class: fused, against torch's interpolate then argmax.

Also: 10,000 classes streamed in chunks, with the memory they take beyond that of 20 classes.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from timing import Row, compare, print_rows, write_json
from torch import Tensor

from lexiseg.ops.resize import RunningBest, resize_argmax, resize_scores

SIZE = (512, 512)
GRID = (64, 64)
CHUNK = 500  # classes at a time where classes are streamed


def draw_noise(num_classes: int, seed: int = 0) -> Tensor:
    """Draw every score by itself: the worst case, in which most classes can win anywhere."""
    return torch.randn(num_classes, *GRID, generator=torch.Generator().manual_seed(seed))


def draw_smooth(num_classes: int, seed: int = 0) -> Tensor:
    """Draw scores that change over some eight patches, with a little noise, as encoders give them."""
    coarse = torch.randn(1, num_classes, 8, 8, generator=torch.Generator().manual_seed(seed))
    return resize_scores(coarse, GRID)[0] + 0.05 * draw_noise(num_classes, seed + 1)


def stream(num_classes: int) -> RunningBest:
    """Take the best of many classes, never holding more than a chunk of scores."""
    best = RunningBest.empty(SIZE)
    for first in range(0, num_classes, CHUNK):
        scores = draw_smooth(min(CHUNK, num_classes - first), seed=first)
        resize_argmax(scores, SIZE, class_offset=first, into=best)
    return best


def peak_mb() -> float:
    """Return the largest memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    stream(20)
    small_peak, start = peak_mb(), time.perf_counter()
    stream(10_000)
    memory = {
        "num_classes": 10_000,
        "extra_peak_mb": round(peak_mb() - small_peak, 1),
        "seconds": round(time.perf_counter() - start, 2),
        "all_scores_mb": round(10_000 * SIZE[0] * SIZE[1] * 4 / 2**20),
    }
    rows: list[Row] = []
    for name, scores in {"noise": draw_noise(150), "smooth": draw_smooth(150)}.items():
        full = resize_scores(scores[None], SIZE)[0]
        found = resize_argmax(scores, SIZE)
        differ = int(np.count_nonzero(found.labels != full.argmax(dim=0).numpy()))

        def fused(scores: Tensor = scores) -> RunningBest:
            return resize_argmax(scores, SIZE)

        def two_steps(scores: Tensor = scores) -> Tensor:
            return resize_scores(scores[None], SIZE)[0].argmax(dim=0)

        functions = {"resize_argmax": fused, "interpolate then argmax": two_steps}
        rows += compare(functions, repeats=11, input=name, labels_that_differ=differ)
    shape = f"150 x {GRID[0]} x {GRID[1]} to {SIZE[0]} x {SIZE[1]}"
    print_rows(rows, f"Resize and best class, {shape}")
    print(memory)
    json_path = Path(__file__).with_suffix(".json")
    write_json(json_path, rows, ["torch", "numba", "numpy"], shape=shape, streamed=memory)


if __name__ == "__main__":
    main()
