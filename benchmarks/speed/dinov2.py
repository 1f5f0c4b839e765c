"""Time dinov2-small on one image of 448×448 against transformers with eager attention, and compare the tokens.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/speed/dinov2.py

Two threads. ``difference`` is the length of the difference from transformers' float32 tokens over their length, for all
tokens together and for the worst one. What is "kept" comes from ``CachedEncoder``.
"""

import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from skimage import data
from timing import compare, print_rows, write_json
from torch import Tensor

from lexiseg.data.transforms import resize_image
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.models.checkpoint import transformers_class
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.hub import resolve_checkpoint

SIDE, THREADS, REPEATS = 448, 2, 9


def difference(found: Float[Tensor, "1 N D"], expected: Float[Tensor, "1 N D"]) -> dict[str, float]:
    """Compare tokens by length."""
    away = (found - expected)[0]
    return {
        "difference": round(float(away.norm() / expected.norm()), 5),
        "worst token": round(float((away.norm(dim=1) / expected[0].norm(dim=1)).max()), 5),
    }


def main() -> None:
    torch.set_num_threads(THREADS)
    folder = resolve_checkpoint("dinov2-small")
    image = resize_image(data.astronaut(), (SIDE, SIDE))[None]
    encoder, half = load_dinov2(folder), load_dinov2(folder, precision="bfloat16")
    eager = transformers_class("Dinov2Model").from_pretrained(folder, attn_implementation="eager").eval()
    pixels = encoder.normalisation(image)
    with tempfile.TemporaryDirectory() as kept, torch.inference_mode():
        cached = CachedEncoder(encoder, fingerprint=encoder.fingerprint, folder=Path(kept))
        functions = {
            "transformers, eager attention": lambda: eager(pixels).last_hidden_state[:, 1:],
            "ours": lambda: encoder(image).tokens,
            "ours, bfloat16": lambda: half(image).tokens,
            "ours, first 9 of 12 blocks": lambda: nine(image).tokens,
            "kept on disk": lambda: cached(image).tokens,
        }
        nine = load_dinov2(folder, num_layers=9)
        expected = functions["transformers, eager attention"]()
        rows = compare(functions, REPEATS)
        for row in rows:
            row["speed-up"] = round(rows[0]["median_ms"] / row["median_ms"], 2)
            if "blocks" not in row["function"]:
                row |= difference(functions[row["function"]](), expected)
            else:
                row |= {"difference": float("nan"), "worst token": float("nan")}
    print_rows(rows, "dinov2-small, 448×448")
    for row in rows:
        if row["difference"] != row["difference"]:
            del row["difference"], row["worst token"]
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "transformers"], side=SIDE)


if __name__ == "__main__":
    main()
