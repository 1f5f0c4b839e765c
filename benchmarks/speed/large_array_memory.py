"""Memory that segmenting a large array takes on top of it, for mini: what it grows by a pixel.

Two sizes; what does not grow (the network, features of windows) falls out of the difference. The array is of
coloured blocks, seen whole; then the larger one once more as it is seen by default, tiled.

    python benchmarks/speed/large_array_memory.py --json benchmarks/speed/large_array_memory.json
"""

import argparse
import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import lexiseg

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

SIDES = (3000, 6000)
WORDS = "cat, grass, sky"


@contextmanager
def highest_memory() -> Iterator[list[int]]:
    """Yield a list that holds, after the block, by how many bytes the process has grown at most in it."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    begin, ended, found = resident(), threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.002):
            found[0] = max(found[0], resident() - begin)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def blocks(side: int) -> np.ndarray:
    """Make an image of coloured blocks."""
    small = np.random.default_rng(0).integers(0, 255, (side // 50, side // 50, 3), np.uint8)
    return small.repeat(50, axis=0).repeat(50, axis=1)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = lexiseg.load("mini", device="cpu", method_settings={"smooth": "none"})
    rows = []
    for refine in ("none", "guided"):
        how = {"refine": refine, "tiles": "off"}
        model.segment(blocks(500), WORDS, **how)
        peaks = []
        for side in SIDES:
            image = blocks(side)
            begin = time.perf_counter()
            with highest_memory() as peak:
                result = model.segment(image, WORDS, **how)
            peaks.append(peak[0])
            del result
            print(
                f"{refine}, {side}²: {peak[0] / 1e9:.2f} GB over the array, {time.perf_counter() - begin:.1f} s",
                flush=True,
            )
        growth = (peaks[1] - peaks[0]) / (SIDES[1] ** 2 - SIDES[0] ** 2)
        rows.append({"refine": refine, "sides": SIDES, "peaks": peaks, "bytes_a_pixel": round(growth, 1)})
        print(f"{refine}: {growth:.1f} bytes a pixel, {growth * 0.4:.1f} GB for 20,000²", flush=True)
    image = blocks(SIDES[1])
    begin = time.perf_counter()
    with highest_memory() as peak:
        result = model.segment(image, WORDS)
    tiled = {
        "side": SIDES[1],
        "peak": peak[0],
        "peak_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": round(time.perf_counter() - begin, 1),
        "num_windows": result.tiling["num_windows"],
    }
    print(json.dumps(tiled), flush=True)
    if given.json is not None:
        given.json.write_text(
            json.dumps({"machine": machine(), "rows": rows, "tiled": tiled}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
