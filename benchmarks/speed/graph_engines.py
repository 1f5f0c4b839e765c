"""Time an encoding of CLIP ViT-B/16 (random weights) by transformers with eager attention, by torch as we run it, by engines.

Run from the repository root, with the extra ``export``::

    python benchmarks/speed/graph_engines.py

One thread, the processor's time, so that other work on the machine counts little. A window of 224 pixels, the head that
``--set head=auto`` takes (``scclip``). Functions take turns.
Parity is the share of equal labels among 40 random class embeddings, and the largest difference of a score.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from timing import print_rows, write_json
from torch.nn.functional import normalize

from lexiseg.models.checkpoint import transformers_class
from lexiseg.models.clip import ClipImageEncoder
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.models.graph_export import export_graph
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.ops.dense_heads import graph_facts

WINDOWS, SIDE, THREADS, REPEATS, CLASSES = 1, 224, 1, 5, 40
HEADS = ("scclip",)


def compare(functions: Mapping[str, Callable[[], object]], head: str) -> list[dict[str, Any]]:
    """Time functions in turns by the processor's time: with one thread, what an idle core would take."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(REPEATS + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:  # the first fills caches
                times[name].append(time.process_time() - start)
    return [
        {
            "head": head,
            "function": name,
            "median_ms": round(1000 * statistics.median(found), 1),
            "fastest_ms": round(1000 * min(found), 1),
        }
        for name, found in times.items()
    ]


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    shape = transformers_class("CLIPVisionConfig")(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=SIDE,
        patch_size=16,
        projection_dim=512,
    )
    shape._attn_implementation = "eager"
    theirs = transformers_class("CLIPVisionModelWithProjection")(shape).eval().requires_grad_(False)
    pixels = PixelNormalisation((0.5,) * 3, (0.25,) * 3)
    shape_own = shape.__class__(**{**shape.to_dict(), "attn_implementation": "sdpa"})
    own = transformers_class("CLIPVisionModelWithProjection")(shape_own).eval().requires_grad_(False)
    own.load_state_dict(theirs.state_dict())
    encoder = ClipImageEncoder(own.vision_model, own.visual_projection, pixels).eval()
    images = torch.rand(WINDOWS, 3, SIDE, SIDE)
    words = normalize(torch.randn(CLASSES, 512), dim=1)

    def by_torch(head: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        encoder.head = head
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            return normalize(encoder(images).tokens.float(), dim=-1)

    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for head in HEADS:
            encoder.head = head
            path = Path(folder) / f"{head}.onnx"
            export_graph(encoder, path, record={"weights": "", **graph_facts(head)})
            graphs = {
                engine: GraphEncoder(path, engine) for engine in ("onnxruntime", "openvino", "openvino-bf16")
            }
            functions = {
                "transformers, eager": lambda: theirs(pixel_values=pixels(images)),
                "torch": lambda head=head: by_torch(head),
                "torch, bfloat16": lambda head=head: by_torch(head, torch.bfloat16),
                **{engine: (lambda graph=graph: graph(images).tokens) for engine, graph in graphs.items()},
            }
            expected = words @ by_torch(head).mT
            timed = compare(functions, head)
            for row in timed:
                row |= {"equal labels": "", "largest difference": ""}
                if row["function"] in ("torch, bfloat16", *graphs):
                    scores = words @ functions[row["function"]]().mT
                    row["equal labels"] = round(
                        float((scores.argmax(1) == expected.argmax(1)).float().mean()), 5
                    )
                    row["largest difference"] = float((scores - expected).abs().max())
                row["speed-up"] = round(timed[0]["median_ms"] / row["median_ms"], 2)
            rows += timed
    print_rows(rows, f"CLIP ViT-B/16, {WINDOWS} windows of {SIDE}×{SIDE}, {THREADS} thread")
    write_json(
        Path(__file__).with_suffix(".json"),
        rows,
        ["torch", "transformers", "onnxruntime", "openvino"],
        side=SIDE,
        windows=WINDOWS,
    )


if __name__ == "__main__":
    main()
