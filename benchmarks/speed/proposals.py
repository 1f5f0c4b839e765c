"""Time and memory from mask logits to a label map: upsampled before the sum, and summed on the grid before.

A hundred proposals of 150 classes, as MaskFormer has for ADE20K, on images of the size that it sees and of twice the size::

    python benchmarks/speed/proposals.py
"""

import resource
import sys
from pathlib import Path

import numpy as np
import torch
from timing import compare, print_rows, write_json

from lexiseg.core.features import PatchFeatures, Proposals
from lexiseg.inference.encode import EncodedImage
from lexiseg.inference.predict import best_classes
from lexiseg.inference.proposal_segmenter import summed_masks
from lexiseg.inference.settings import InferenceSettings
from lexiseg.ops.sliding_window import Window

GRID, STRIDE, QUERIES, CLASSES = (128, 168), 4, 100, 150


def encoded(times: int) -> EncodedImage:
    torch.manual_seed(0)
    height, width = (side * STRIDE for side in GRID)
    smooth = torch.nn.functional.interpolate(torch.randn(1, QUERIES, 8, 10) * 8, size=GRID, mode="bilinear")
    features = PatchFeatures(
        tokens=smooth.flatten(2).mT.contiguous(),
        grid=GRID,
        stride=STRIDE,
        proposals=Proposals(classes=(torch.randn(1, QUERIES, CLASSES + 1) * 3).softmax(-1)[..., :-1]),
    )
    return EncodedImage(
        image=np.zeros((times * height, times * width, 3), np.uint8),
        resized_size=(height, width),
        windows=(Window(top=0, left=0, height=height, width=width),),
        features=(features,),
        settings=InferenceSettings(),
        model="none",
    )


def on_grid(features: PatchFeatures, embeddings: torch.Tensor) -> torch.Tensor:
    summed = features.tokens.sigmoid() @ features.proposals.classes @ embeddings.T
    return summed.mT.reshape(1, -1, *GRID)


def main() -> None:
    names, counts = torch.eye(CLASSES), [1] * CLASSES
    rows = []
    for times in (1, 2):
        image = encoded(times)

        def label(upsample, image=image):
            return best_classes(
                image, on_grid, names, counts, settings=InferenceSettings(), upsample=upsample
            )

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        late = label(summed_masks)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
        early = label(None)
        functions = {
            "summed on the grid": lambda: label(None),
            "upsampled before the sum": lambda: label(summed_masks),
        }
        shape = image.image.shape
        rows += compare(functions, repeats=5, image=f"{shape[0]}×{shape[1]}")
        same = (late.labels == early.labels).mean()
        print(
            f"{shape[0]}×{shape[1]}: peak {peak:.0f} MiB more, {1 - same:.2%} of the pixels differ",
            file=sys.stderr,
        )
        rows[-1]["peak_mib"] = round(peak)
    print_rows(rows, "From mask logits to labels")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch"])


if __name__ == "__main__":
    main()
