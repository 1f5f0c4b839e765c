"""Time the mask generator against the forward passes of SAM it contains: ViT-B at 1024, random weights.

Random weights answer as slowly as trained ones, but what passes the filters would be chance; so the limit on
the expected IoU is set to let 40 % of the answers pass, and every one of them counts as stable: about what
trained weights do on a crowded photograph, or more. Sixteen prompts are timed; ``ratio`` is what follows
the image encoder by SAM's own ``answer`` in it, so the encoder's time does not flatter it.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data, transform
from timing import Row, print_rows, write_json
from transformers import SamConfig, SamModel

from lexiseg.models.mask_generator import MaskGenerator, MaskGeneratorSettings
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.models.sam import Sam

SIZES = [(480, 640), (683, 1024)]
PASSING = 0.4
REPEATS = 3
POINTS_PER_SIDE = 4  # SAM's work and ours grow alike with the prompts


def main() -> None:
    torch.manual_seed(0)
    network = Sam(
        SamModel(SamConfig()).eval(), PixelNormalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    spent = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **words: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            answer = call(*arguments, **words)
            spent += time.perf_counter() - start
            return answer

        return run

    rows: list[Row] = []
    for size in SIZES:
        image = (255 * transform.resize(data.coffee(), size, anti_aliasing=True)).astype(np.uint8)
        with torch.inference_mode():
            photo = network.embed(image)
            centres = (torch.arange(POINTS_PER_SIDE) + 0.5) / POINTS_PER_SIDE
            points = torch.cartesian_prod(centres * size[1], centres * size[0])
            _, expected = network.predict(photo, points[:, None], multimask_output=True)
        settings = MaskGeneratorSettings(
            points_per_side=POINTS_PER_SIDE,
            min_expected_iou=float(expected.quantile(1 - PASSING)),
            min_stability=0.0,
        )
        generator = MaskGenerator(network, settings)
        network.embed = lambda _, photo=photo: photo  # type: ignore[method-assign]
        network.predict = timed(Sam.predict.__get__(network))  # type: ignore[method-assign]
        totals, forwards = [], []
        for _ in range(REPEATS):
            spent = 0.0
            start = time.perf_counter()
            generator.propose(image)
            totals.append(time.perf_counter() - start)
            forwards.append(spent)
        rows.append(
            {
                "size": f"{size[1]} x {size[0]}",
                "prompts": POINTS_PER_SIDE**2,
                "enlarged": int((expected > settings.min_expected_iou).sum()),
                "forward_s": round(statistics.median(forwards), 2),
                "propose_s": round(statistics.median(totals), 2),
                "ratio": round(statistics.median(t / f for t, f in zip(totals, forwards, strict=True)), 3),
            }
        )
        del network.embed, network.predict
    print_rows(rows, "Mask generator, SAM ViT-B, random weights")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "transformers", "numpy"])


if __name__ == "__main__":
    main()
