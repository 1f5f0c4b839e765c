"""Time one encoding of CLIP ViT-B/16 (random weights) with every head of the last attention, against ``value``.

Run from the repository root::

    python benchmarks/speed/dense_heads.py

Two threads. What is encoded is what ``--set head=scclip`` sees of a 4:3 image: six windows of 224 pixels. The functions
take turns, so that the ratio to ``value`` is of one run.
"""

from pathlib import Path

import torch
from timing import compare, print_rows, write_json

from lexiseg.models.checkpoint import transformers_class
from lexiseg.models.clip import ClipImageEncoder
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.ops.dense_heads import HEADS

WINDOWS, SIDE, THREADS, REPEATS = 6, 224, 2, 7


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
    vision = transformers_class("CLIPVisionModelWithProjection")(shape).eval()
    encoder = ClipImageEncoder(
        vision.vision_model, vision.visual_projection, PixelNormalisation((0.5,) * 3, (0.25,) * 3)
    )
    images = torch.rand(WINDOWS, 3, SIDE, SIDE)

    def with_head(head: str) -> None:
        encoder.head = head
        encoder(images)

    with torch.inference_mode():
        functions = {head: (lambda head=head: with_head(head)) for head in HEADS}
        rows = compare(functions, REPEATS)
    for row in rows:
        row["ratio to value"] = round(row["median_ms"] / rows[0]["median_ms"], 3)
    print_rows(rows, f"CLIP ViT-B/16, {WINDOWS} windows of {SIDE}×{SIDE}")
    write_json(
        Path(__file__).with_suffix(".json"), rows, ["torch", "transformers"], side=SIDE, windows=WINDOWS
    )


if __name__ == "__main__":
    main()
