"""Large images by default against seen whole: a mosaic of photographs, the same cut elsewhere, photographs enlarged.

    python benchmarks/accuracy/large_images.py ../shared/data
    python benchmarks/accuracy/large_images.py ../shared/data --parts enlarged --photographs 2   # keeps what else was measured

Minutes on one core; the mosaic without smoothing and with it, the others without. The mosaic is counted twice: each cell as
a cat or a cup, and with the table that the cup stands on drawn by hand (cup, saucer and spoon are the cup; a corner that is
neither is void). Photographs are seen by mini without its head of known names, which was trained on them. Writes
large_images.json beside this file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import data, draw

import lexiseg
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset

HERE = Path(__file__).parent
CELL, CELLS, ENLARGED, PHOTOGRAPHS = 600, 4, 3, 6
PARTS = ("mosaic", "alone", "enlarged")
#: Rows and columns that are cut away for the second look: no multiple of what windows lie apart.
CUT = (100, 64)
CAT, CUP, TABLE = range(3)
#: Outlines in the photograph of a coffee, column and row in thousandths of the cell: cup, saucer and spoon; a dark corner.
CUP_OUTLINE = (
    (0, 330), (30, 290), (90, 235), (150, 195), (195, 178), (200, 165), (230, 130), (300, 80), (400, 50), (470, 45),
    (560, 55), (650, 90), (720, 145), (745, 180), (765, 168), (790, 168), (810, 190), (800, 230), (793, 262), (840, 300),
    (890, 365), (925, 430), (945, 520), (945, 600), (925, 690), (880, 780), (820, 850), (740, 910), (640, 950), (540, 972),
    (440, 972), (340, 957), (240, 927), (150, 872), (80, 812), (20, 747), (0, 717),
)  # fmt: skip
CORNER = ((0, 0), (125, 0), (0, 98))


def mosaic() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a chequerboard of a cat and a cup, 2400 × 2400; which is where; and the same with the table."""
    parts = [
        np.asarray(Image.fromarray(photograph[:, columns]).resize((CELL, CELL), Image.Resampling.BICUBIC))
        for photograph, columns in ((data.chelsea(), slice(75, 375)), (data.coffee(), slice(100, 500)))
    ]
    cup = np.full((CELL, CELL), TABLE)
    for outline, label in ((CUP_OUTLINE, CUP), (CORNER, IGNORE_INDEX)):
        columns, rows = np.array(outline).T * CELL / 1000
        cup[draw.polygon(rows, columns, cup.shape)] = label
    shapes = (
        (parts[0], np.full_like(cup, CAT), np.full_like(cup, CAT)),
        (parts[1], np.full_like(cup, CUP), cup),
    )
    image, cells, drawn = (
        np.concatenate(
            [
                np.concatenate([shapes[(row + column) % 2][which] for column in range(CELLS)], 1)
                for row in range(CELLS)
            ]
        )
        for which in range(3)
    )
    return image, cells, drawn


def right(labels: np.ndarray, truth: np.ndarray) -> float:
    return float((labels == truth)[truth != IGNORE_INDEX].mean())


def measure_mosaic(smooth: str) -> dict[str, Any]:
    model = lexiseg.load("mini", method_settings={"smooth": smooth})
    image, cells, drawn = mosaic()
    views = {"default": model.encode(image), "whole": model.encode(image, tiles="off")}
    cut = model.encode(image[CUT[0] :, CUT[1] :])
    found: dict[str, Any] = {}
    for words in ("cat, cup", "cat, cup, table"):
        results = {name: model.segment(encoded, words) for name, encoded in views.items()}
        elsewhere = model.segment(cut, words).label_map
        found[words] = {
            **{name: right(result.label_map, cells) for name, result in results.items()},
            "pixels that differ when cut elsewhere": float(
                (elsewhere != results["default"].label_map[CUT[0] :, CUT[1] :]).mean()
            ),
            "tiling": dict(results["default"].tiling or {}),
        }
        if "table" in words:
            found[words]["with the table drawn"] = {
                name: right(result.label_map, drawn) for name, result in results.items()
            }
    return found


def measure_alone() -> dict[str, Any]:
    """Segment one cell of each by itself: what a perfect stitcher of the model's own answers would put together."""
    model = lexiseg.load("mini", method_settings={"smooth": "none"})
    image, cells, drawn = mosaic()
    rows, columns = (cut // CELLS for cut in CUT)
    found: dict[str, Any] = {}
    for name, place in (("cat", np.s_[:CELL, :CELL]), ("coffee", np.s_[:CELL, CELL : 2 * CELL])):
        whole, cut = model.encode(image[place]), model.encode(image[place][rows:, columns:])
        for words in ("cat, cup", "cat, cup, table"):
            labels = model.segment(whole, words).label_map
            found[f"{name}: {words}"] = {
                "cells": right(labels, cells[place]),
                "with the table drawn": right(labels, drawn[place]),
                "pixels that differ when cut elsewhere": float(
                    (model.segment(cut, words).label_map != labels[rows:, columns:]).mean()
                ),
            }
    return found


def measure_enlarged(folder: Path, count: int) -> dict[str, Any]:
    model = lexiseg.load("mini", method_settings={"head": "none", "smooth": "none"})
    dataset = FolderDataset(folder, labels="only")
    found: dict[str, Any] = {"default": [], "whole": [], "sizes that decide": []}
    for index in range(0, 4 * count, 4):
        sample = dataset[index]
        size = (sample.image.shape[1] * ENLARGED, sample.image.shape[0] * ENLARGED)
        large = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BICUBIC))
        truth = np.asarray(
            Image.fromarray(sample.label_map.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        )
        for name, tiles in (("default", "auto"), ("whole", "off")):
            result = model.segment(large, dataset.vocabulary, tiles=tiles)
            found[name].append(round(right(result.label_map, truth), 4))
            if result.tiling is not None:
                found["sizes that decide"].append(
                    [
                        [*size["size"], round(size["mean_best_score"], 3)]
                        for size in result.tiling["sizes"]
                        if size["decides"]
                    ]
                )
        print(json.dumps({name: values[-1] for name, values in found.items()}), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--photographs", type=int, default=PHOTOGRAPHS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    page = HERE / "large_images.json"
    found = json.loads(page.read_text()) if page.exists() else {}
    if "mosaic" in given.parts:
        found |= measure_mosaic("none")
        found["smoothed by dinov2-small"] = measure_mosaic("dinov2")
    if "alone" in given.parts:
        found["one photograph of the mosaic alone"] = measure_alone()
    if "enlarged" in given.parts:
        enlarged = measure_enlarged(given.data / "coco-free", given.photographs)
        found["enlarged photographs"] = {**enlarged, "measured": f"{given.photographs} of {PHOTOGRAPHS}"}
    page.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
