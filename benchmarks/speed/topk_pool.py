"""Time the mean of the M largest values of every channel, forward and backward, against torch.topk + mean."""

from collections.abc import Callable
from pathlib import Path

import torch
from timing import Row, compare, print_rows, write_json

from lexiseg.ops.topk_pool import topk_mean, topk_mean_by_torch

# Images of SimSeg's paper (224 and 288 pixels, patch 16), its captions, and the synthetic scenes.
SHAPES = {
    "224 px": (64, 196, 512),
    "288 px": (16, 324, 512),
    "captions": (256, 25, 512),
    "scenes": (128, 64, 128),
}


def main() -> None:
    torch.set_num_threads(1)
    rows: list[Row] = []
    for name, shape in SHAPES.items():
        tokens = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        learning = tokens.clone().requires_grad_()
        for top_k in (1, 5, 16):

            def once(pool: Callable, top_k: int = top_k, tokens: torch.Tensor = tokens) -> None:
                with torch.no_grad():
                    pool(tokens, top_k)

            def both(pool: Callable, top_k: int = top_k, learning: torch.Tensor = learning) -> None:
                learning.grad = None
                pool(learning, top_k).sum().backward()

            for what, work in (("forward", once), ("forward + backward", both)):
                functions = {
                    "topk_mean": lambda work=work: work(topk_mean),
                    "torch.topk + mean": lambda work=work: work(topk_mean_by_torch),
                }
                labels = {
                    "input": name,
                    "shape": "×".join(map(str, shape)),
                    "M": top_k,
                    "timed": what,
                }
                rows += compare(functions, repeats=9, **labels)
    print_rows(rows, "Top-M pooling, one thread")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "numba"])


if __name__ == "__main__":
    main()
