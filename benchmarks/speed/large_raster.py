"""Memory and time of lexiseg raster: a raster of 20,000 × 20,000 pixels, and mini over one as wide.

Each row is a process of its own, from the import of Lexiseg to the GeoPackage; memory is the most that the process had.
``colours`` has no network (a patch scores by its mean colour): what it takes is what reading, blending, deciding, keeping and
writing take. mini's memory depends on the width only, by the windows that are kept for the next row of blocks.

    python benchmarks/speed/large_raster.py --json benchmarks/speed/large_raster.json

mini over all of 20,000 × 20,000 takes hours. ``--stopped`` adds what it takes there until so many windows are encoded, by
which memory has stopped growing, and keeps the other rows of the JSON; the rows below those of the first blocks are
left black::

    python benchmarks/speed/large_raster.py --json benchmarks/speed/large_raster.json --stopped 120
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests/fixtures"))
from machine import machine

WORDS = {"colours": "red, green, blue, black, white", "mini": "house, road, tree, grass, water"}
#: Side of the raster that mini is stopped on, and its rows that are drawn.
SIDE, DRAWN = 20_000, 1_536
#: Model, height, width, step of the windows of 448 pixels, refinement of borders.
ROWS = (
    ("colours", 20_000, 20_000, 448, "none"),
    ("mini", 450, 5_000, 224, "guided"),
    ("colours", 2_500, 2_500, 224, "none"),
)


def write(path: Path, height: int, width: int, *, drawn: int | None = None) -> None:
    """Write a raster of coloured squares with some noise; where only some rows are drawn, the others take no space."""
    import rasterio
    from rasterio.transform import Affine

    how = {
        "driver": "GTiff",
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32632",
        "photometric": "RGB",
        "tiled": True,
    }
    how |= {"transform": Affine(0.2, 0, 4e5, 0, -0.2, 5e6), "sparse_ok": drawn is not None}
    with rasterio.open(path, "w", height=height, width=width, **how) as file:
        write_squares(file, height if drawn is None else drawn, width)


def write_squares(file: Any, height: int, width: int) -> None:
    """Write the first rows of an open raster, a band of them at a time."""
    rng = np.random.default_rng(0)
    for top in range(0, height, 256):
        rows = min(256, height - top)
        small = rng.integers(0, 2, (3, -(-rows // 128), -(-width // 128)), np.uint8) * 200 + 20
        pixels = small.repeat(128, 1).repeat(128, 2)[:, :rows, :width]
        pixels += rng.integers(0, 30, (1, rows, width), np.uint8)
        file.write(pixels, window=((top, top + rows), (0, width)))


def measure(model_name: str, path: Path, out: Path, step: int, refine: str) -> None:
    """Segment in this process and print what it took."""
    import lexiseg
    from lexiseg.inference.segment_raster import RasterRequest, segment_raster

    if model_name == "colours":
        from toy_segmenter import ColourSegmenter

        model = ColourSegmenter(short_side=448)
    else:
        model = lexiseg.load(model_name, device="cpu")
    request = RasterRequest.build(model, WORDS[model_name], window=448, window_stride=step, refine=refine)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin, begin_cpu = time.perf_counter(), time.process_time()
    facts = segment_raster(path, request, out)
    spent = {"seconds": time.perf_counter() - begin, "processor_seconds": time.process_time() - begin_cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"mb_before": round(before), "peak_mb": round(peak), "num_regions": facts["num_regions"], **spent}
        )
    )


class StoppedError(Exception):
    """So many windows are encoded as were asked for."""


def measure_stopped(path: Path, out: Path, most: int) -> None:
    """Segment with mini in this process until some windows are encoded; print the most memory after each tenth of them."""
    import lexiseg
    from lexiseg.inference.segment_raster import RasterRequest, segment_raster

    def peak_mb() -> int:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    model = lexiseg.load("mini", device="cpu")
    before, encode, number, peaks = peak_mb(), model.encode_windows, itertools.count(1), {}

    def counted(*given: object) -> object:
        found = encode(*given)
        done = next(number)
        if done % max(1, most // 10) == 0:
            peaks[done] = peak_mb()
        if done == most:
            raise StoppedError
        return found

    model.encode_windows = counted
    begin = time.process_time()
    try:
        segment_raster(path, RasterRequest.build(model, WORDS["mini"], window=448, window_stride=224), out)
    except StoppedError:
        spent = {"peak_mb_after_windows": peaks, "processor_seconds": round(time.process_time() - begin, 1)}
        about = {"smooth": model.method_settings["smooth"], "mb_before": before, "peak_mb": peak_mb()}
        print(json.dumps({**about, **spent}))


def run_stopped(most: int) -> dict:
    """Make a raster of 20,000 × 20,000 of which the first rows are drawn, and measure in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.tif")
        write(path, SIDE, SIDE, drawn=DRAWN)
        command = [sys.executable, __file__, "--measure-stopped", str(path), f"{folder}/out", str(most)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    size = {
        "height": SIDE,
        "width": SIDE,
        "window_stride": 224,
        "refine": "guided",
        "stopped_after_windows": most,
    }
    return {"model": "mini", **size, **found}


def run(model: str, height: int, width: int, step: int, refine: str) -> dict:
    """Make a raster and measure in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.tif")
        write(path, height, width)
        command: Sequence[str] = [
            sys.executable,
            __file__,
            "--measure",
            model,
            str(path),
            f"{folder}/out",
            str(step),
            refine,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    megapixels = height * width / 1e6
    found = {name: round(value, 1) for name, value in found.items()}
    found["processor_seconds_a_megapixel"] = round(found["processor_seconds"] / megapixels, 3)
    return {
        "model": model,
        "height": height,
        "width": width,
        "window_stride": step,
        "refine": refine,
        **found,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--stopped", type=int, metavar="WINDOWS")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--measure-stopped", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        model, path, out, step, refine = given.measure
        measure(model, Path(path), Path(out), int(step), refine)
        return
    if given.measure_stopped:
        path, out, most = given.measure_stopped
        measure_stopped(Path(path), Path(out), int(most))
        return
    if given.stopped is not None:
        found = run_stopped(given.stopped)
        print(found)
        if given.json is not None:
            content = json.loads(given.json.read_text())
            kept = [row for row in content["rows"] if "stopped_after_windows" not in row]
            given.json.write_text(json.dumps({**content, "rows": [*kept, found]}, indent=1) + "\n")
        return
    rows = []
    for row in ROWS:
        rows.append(run(*row))
        print(rows[-1], flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
