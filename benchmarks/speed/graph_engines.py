"""Time an encoding of CLIP ViT-B/16 (random weights) by transformers with eager attention, by torch as we run it, by engines.

Run from the repository root, with the extra ``export``::

    python benchmarks/speed/graph_engines.py

One thread. Windows of 224 pixels, the head that ``--set head=auto`` takes (``scclip``), and ``value``. Functions take turns.
Parity is the share of equal labels among 40 random class embeddings, and the largest difference of a score.
"""

import tempfile
from pathlib import Path

import torch
from timing import compare, print_rows, write_json
from torch.nn.functional import normalize

from lexiseg.models.checkpoint import transformers_class
from lexiseg.models.clip import ClipImageEncoder
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.models.graph_export import export_graph
from lexiseg.models.pixel_normalisation import PixelNormalisation

WINDOWS, SIDE, THREADS, REPEATS, CLASSES = 2, 224, 1, 5, 40
HEADS = ("value", "scclip")


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
            export_graph(encoder, path, record={"weights": ""})
            graphs = {engine: GraphEncoder(path, engine) for engine in ("onnxruntime", "openvino")}
            functions = {
                "transformers, eager": lambda: theirs(pixel_values=pixels(images)),
                "torch": lambda head=head: by_torch(head),
                "torch, bfloat16": lambda head=head: by_torch(head, torch.bfloat16),
                **{engine: (lambda graph=graph: graph(images).tokens) for engine, graph in graphs.items()},
            }
            expected = words @ by_torch(head).mT
            timed = compare(functions, REPEATS, head=head)
            for row in timed:
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
