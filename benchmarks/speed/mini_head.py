"""Time mini without its head, with it, and smoothed by dinov2-small too, on one photograph and twenty words.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/speed/mini_head.py

Two threads, words known, from pixels to labels.
"""

from pathlib import Path

import torch
from skimage import data
from timing import compare, print_rows, write_json

import lexiseg

THREADS, REPEATS = 2, 5
WORDS = (
    "cat, dog, person, face, hair, cup, coffee, spoon, table, plate, wall, floor, sky, grass, tree, rocket, "
    "tower, flag, helmet, book"
)
MODELS = {
    "head=none": {"head": "none", "smooth": "none"},
    "smooth=none": {"smooth": "none"},
    "smooth=dinov2": {"smooth": "dinov2"},
}


def main() -> None:
    torch.set_num_threads(THREADS)
    models = {name: lexiseg.load("mini", method_settings=changes) for name, changes in MODELS.items()}
    image = data.chelsea()
    functions = {name: lambda model=model: model.segment(image, WORDS) for name, model in models.items()}
    rows = compare(functions, REPEATS)
    print_rows(rows, "one photograph of 451x300, twenty words")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch"])


if __name__ == "__main__":
    main()
