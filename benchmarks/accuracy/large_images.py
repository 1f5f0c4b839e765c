"""Large images by default against seen whole: a mosaic of photographs, the same cut elsewhere, photographs enlarged.

    python benchmarks/accuracy/large_images.py ../shared/data

Minutes on one core. Writes large_images.json beside this file.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

import lexiseg
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset

HERE = Path(__file__).parent
CELL, CELLS, ENLARGED, PHOTOGRAPHS = 600, 4, 3, 6
#: Rows and columns that are cut away for the second look: no multiple of what windows lie apart.
CUT = (100, 64)


def mosaic() -> tuple[np.ndarray, np.ndarray]:
    """Return a chequerboard of a cat and a cup, 2400 × 2400, and which is where."""
    parts = [
        np.asarray(Image.fromarray(photograph[:, columns]).resize((CELL, CELL), Image.Resampling.BICUBIC))
        for photograph, columns in ((data.chelsea(), slice(75, 375)), (data.coffee(), slice(100, 500)))
    ]
    rows = [np.concatenate([parts[(row + column) % 2] for column in range(CELLS)], 1) for row in range(CELLS)]
    place = np.arange(CELL * CELLS) // CELL
    return np.concatenate(rows, 0), (place[:, None] + place) % 2


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data") / "coco-free"
    model = lexiseg.load("mini", method_settings={"head": "none"})
    image, right = mosaic()
    found: dict = {}
    for words in ("cat, cup", "cat, cup, table"):
        default, whole = model.segment(image, words), model.segment(image, words, tiles="off")
        found[words] = {
            "default": float((default.label_map == right).mean()),
            "whole": float((whole.label_map == right).mean()),
            "tiling": dict(default.tiling or {}),
        }
        if words == "cat, cup":
            cut = model.segment(image[CUT[0] :, CUT[1] :], words).label_map
            found["pixels that differ when cut elsewhere"] = float(
                (cut != default.label_map[CUT[0] :, CUT[1] :]).mean()
            )
    dataset = FolderDataset(folder, labels="only")
    enlarged: dict = {"default": [], "whole": []}
    for index in range(0, 4 * PHOTOGRAPHS, 4):
        sample = dataset[index]
        size = (sample.image.shape[1] * ENLARGED, sample.image.shape[0] * ENLARGED)
        large = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BICUBIC))
        truth = np.asarray(
            Image.fromarray(sample.label_map.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        )
        counted = truth != IGNORE_INDEX
        for name, tiles in (("default", "auto"), ("whole", "off")):
            labels = model.segment(large, dataset.vocabulary, tiles=tiles).label_map
            enlarged[name].append(round(float((labels == truth)[counted].mean()), 4))
    found["enlarged photographs"] = enlarged
    (HERE / "large_images.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
