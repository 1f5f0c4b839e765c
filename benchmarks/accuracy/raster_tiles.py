"""How much lexiseg raster's labels depend on windows and on where a file begins: a mosaic of photographs, 1200 × 1200.

    python benchmarks/accuracy/raster_tiles.py
    python benchmarks/accuracy/raster_tiles.py none    # without smoothing alone; keeps the other row

Minutes on one core. Writes raster_tiles.json beside this file.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import torch
from large_images import CUT, mosaic
from rasterio.transform import Affine

import lexiseg
from lexiseg.inference.segment_raster import RasterRequest, segment_raster

HERE = Path(__file__).parent
SIDE, WORDS = 1200, "cat, cup"
AT = Affine(0.2, 0, 400_000, 0, -0.2, 5_000_000)


def labels_of(
    model: lexiseg.Segmenter, pixels: np.ndarray, transform: Affine | None, **changes: object
) -> np.ndarray:
    """Write pixels as a GeoTIFF, without a reference system where there is no transform, and segment it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.tif")
        how = {} if transform is None else {"crs": "EPSG:32632", "transform": transform}
        how |= {"driver": "GTiff", "count": 3, "dtype": "uint8", "photometric": "RGB", "tiled": True}
        with rasterio.open(path, "w", height=pixels.shape[0], width=pixels.shape[1], **how) as file:
            file.write(pixels.transpose(2, 0, 1))
        segment_raster(path, RasterRequest.build(model, WORDS, polygons="none", **changes), folder)
        with rasterio.open(Path(folder, "scene.labels.tif")) as file:
            return file.read(1)


def measure(model: lexiseg.Segmenter) -> dict[str, float]:
    """Segment the mosaic, the same cut elsewhere, and the same in windows of twice the side."""
    pixels, right = (part[:SIDE, :SIDE] for part in mosaic()[:2])
    first = labels_of(model, pixels, AT)
    top, left = CUT
    part, corner = pixels[top:, left:], AT @ Affine.translation(left, top)
    inner = (slice(896, None), slice(896, None))

    def differ(there: np.ndarray, here: np.ndarray) -> float:
        return round(float((there != here).mean()), 5)

    cut, plain = labels_of(model, part, corner), labels_of(model, part, None)
    return {
        "pixels right": round(float((first == right).mean()), 4),
        "cut elsewhere, with a reference system": differ(cut, first[top:, left:]),
        "the same, two windows from the new border": differ(cut[inner], first[top:, left:][inner]),
        "cut elsewhere, without a reference system": differ(plain, first[top:, left:]),
        "windows of 896": differ(labels_of(model, pixels, AT, window=896), first),
    }


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    page = HERE / "raster_tiles.json"
    found = json.loads(page.read_text()) if page.exists() else {}
    for smooth in sys.argv[1:] or ("none", "dinov2"):
        model = lexiseg.load("mini", device="cpu", method_settings={"smooth": smooth})
        found[f"smooth={smooth}"] = measure(model)
        print(json.dumps(found, indent=1), flush=True)
        page.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
