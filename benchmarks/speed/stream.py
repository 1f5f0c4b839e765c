"""Memory of ``model.stream`` over many images: what the process holds after each tenth of them, and how many a second.

The model has no network (a patch scores by its mean colour) and the images are 16 × 16 out of a generator, so that what is
measured is the stream itself: reading ahead, batches, results that are taken and dropped.

    python benchmarks/speed/stream.py --json benchmarks/speed/stream.json
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests/fixtures"))
from machine import machine

from toy_segmenter import ColourSegmenter

WORDS = "red, green, blue, black, white"


def resident() -> int:
    """Return the bytes that the process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def images(count: int) -> Iterator[np.ndarray]:
    """Make images one at a time."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (16, 16, 3), np.uint8)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = ColourSegmenter(short_side=16)
    for _ in model.stream(images(200), WORDS):
        pass
    model.encoded_batches, model.scored_names = _Forgetful(), _Forgetful()
    held = [resident()]
    begin, used, labels = time.perf_counter(), time.process_time(), 0
    for number, result in enumerate(model.stream(images(given.count), WORDS), 1):
        labels += int(result.label_map[0, 0])
        if number % (given.count // 10) == 0:
            held.append(resident())
            print(f"{number:,}: {held[-1] / 1e6:.1f} MB", flush=True)
    found = {
        "machine": machine(),
        "images": given.count,
        "megabytes": [round(each / 1e6, 1) for each in held],
        "grown_megabytes": round((held[-1] - held[0]) / 1e6, 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "processor_ms_an_image": round(1e3 * (time.process_time() - used) / given.count, 3),
    }
    print(json.dumps(found))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


class _Forgetful(list[int]):
    """The toy notes every call for tests; a hundred thousand of them would be measured here."""

    def append(self, _: int) -> None:
        pass


if __name__ == "__main__":
    main()
