"""What averaging over time does to the labels of a video: a cat that moves over a cup, with noise, in 16 frames.

    python benchmarks/accuracy/video_smoothing.py

A minute on one core. Writes video_smoothing.json beside this file.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

import lexiseg
from lexiseg.inference.streaming import TimeAverage

HERE = Path(__file__).parent
SIZE, SIDE, FRAMES, STEP = (240, 320), 150, 16, 6
NOISE, FLICKER = 5.0, 0.03
WORDS = "cat, cup"
WEIGHTS = (0.0, 0.5, 0.7, 0.9)


def frames() -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw the frames, and where the cat is in each (0) and is not (1)."""
    rng = np.random.default_rng(0)
    cup = np.asarray(Image.fromarray(data.coffee()[:, 100:500]).resize(SIZE[::-1], Image.Resampling.BICUBIC))
    cat = np.asarray(
        Image.fromarray(data.chelsea()[:, 75:375]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    )
    found = []
    for number in range(FRAMES):
        image, right = cup.astype(np.float64), np.ones(SIZE, np.uint16)
        part = (slice(45, 45 + SIDE), slice(10 + STEP * number, 10 + STEP * number + SIDE))
        image[part], right[part] = cat, 0
        image = image * (1 + FLICKER * rng.standard_normal()) + NOISE * rng.standard_normal(image.shape)
        found.append((np.clip(image, 0, 255).astype(np.uint8), right))
    return found


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    model = lexiseg.load("mini", device="cpu")
    drawn = frames()
    encoded = [model.encode(image, short_side=224) for image, _ in drawn]
    rows = []
    for weight in WEIGHTS:
        average, before, right_share, flips = TimeAverage(weight), None, [], []
        for each, (_, right) in zip(encoded, drawn, strict=True):
            labels = model.segment(average(each), WORDS, none_of_these="off").label_map
            right_share.append(float((labels == right).mean()))
            if before is not None:
                still = before[1] == right
                flips.append(float((before[0] != labels)[still].mean()))
            before = labels, right
        rows.append(
            {
                "weight": weight,
                "right": round(float(np.mean(right_share)), 4),
                "flips": round(float(np.mean(flips)), 5),
            }
        )
        print(rows[-1], flush=True)
    settings = {"frames": FRAMES, "size": SIZE, "pixels a frame": STEP, "noise": NOISE, "flicker": FLICKER}
    (HERE / "video_smoothing.json").write_text(json.dumps({**settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
