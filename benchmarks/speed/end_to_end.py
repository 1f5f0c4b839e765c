"""Time and memory of the command and of one photograph, each in its own process.

    python benchmarks/speed/end_to_end.py

Cold: a new process from start to exit, weights and compiled kernels on disk, word embeddings not yet
known (the cache folder is empty). Warm: the median photograph of a running process, from the file on
disk to the three result files. Memory: the peak of a process with 10,000 words against one with 20.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from timing import print_rows, write_json

WORDS = (
    "cat, dog, person, face, hair, cup, coffee, spoon, table, plate, wall, floor, sky, grass, tree, rocket, tower, "
    "flag, helmet, book"
)

ONE_PHOTOGRAPH = """
import resource, sys, time
import lexiseg
photo, folder, num_words, repeats, side = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
from PIL import Image
image = Image.open(photo).convert("RGB").resize((side, side * 3 // 4 if side == 640 else side))
image.save(folder + "/photo.jpg", quality=92)
words = WORDS if num_words == 20 else [f"{a} {i}" for i in range(num_words // 20) for a in WORDS.split(", ")]
model = lexiseg.load("mini", device="cpu", method_settings={"smooth": "none"})
times = []
for _ in range(repeats):
    start = time.perf_counter()
    result = model.segment(folder + "/photo.jpg", words)
    result.save(folder)
    times.append(time.perf_counter() - start)
import json
print(json.dumps({"seconds": times, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  "classes": len(result.shares())}))
"""


def process_seconds(command: list[str], repeats: int, environment: dict[str, str]) -> list[float]:
    """Run a command several times; return the wall seconds of each."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - start)
    return times


def photograph(photo: Path, num_words: int, repeats: int, side: int, cache: str) -> dict[str, Any]:
    """Segment one photograph several times in a new process; give seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        code = ONE_PHOTOGRAPH.replace("WORDS", repr(WORDS))
        arguments = [str(photo), folder, str(num_words), str(repeats), str(side)]
        environment = {**os.environ, "LEXISEG_CACHE": cache}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print, write JSON beside this file."""
    import skimage

    photo = Path(skimage.__file__).parent / "data" / "chelsea.png"
    lexiseg = [sys.executable, "-m", "lexiseg"]
    rows: list[dict[str, Any]] = []

    def row(what: str, value: float, unit: str, target: str) -> None:
        rows.append({"what": what, "value": round(value, 3), "unit": unit, "target": target})

    process_seconds([*lexiseg, "--help"], 1, dict(os.environ))
    row(
        "lexiseg --help",
        statistics.median(process_seconds([*lexiseg, "--help"], 9, dict(os.environ))),
        "s",
        "< 0.15",
    )
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as out:
        from PIL import Image

        image = Path(out) / "photo.jpg"
        Image.open(photo).convert("RGB").resize((640, 480)).save(image, quality=92)
        command = [*lexiseg, "segment", str(image), "--words", WORDS, "--overwrite", "--out", out]
        cold = []
        for index in range(4):
            environment = {**os.environ, "LEXISEG_CACHE": f"{cache}/{index}"}
            cold += process_seconds(command, 1, environment)
        row("segment 640×480, 20 words, cold process, words new", statistics.median(cold[1:]), "s", "< 6")
        again = process_seconds(command, 3, environment)
        row("segment 640×480, 20 words, cold process, words known", statistics.median(again), "s", "< 6")
    with tempfile.TemporaryDirectory() as cache:
        warm = photograph(photo, 20, 12, 640, cache)
        row(
            "segment 640×480, 20 words, warm, file to files",
            statistics.median(warm["seconds"][2:]),
            "s",
            "< 0.25",
        )
        few = photograph(photo, 20, 2, 512, cache)
        first = photograph(photo, 10_000, 1, 512, cache)
        many = photograph(photo, 10_000, 2, 512, cache)
    row("peak memory, 512×512, 20 words", few["peak_mb"], "MB", "")
    row("more with 10,000 words, words new", first["peak_mb"] - few["peak_mb"], "MB", "≤ 300")
    row("more with 10,000 words, words known", many["peak_mb"] - few["peak_mb"], "MB", "≤ 300")
    row("segment 512×512, 10,000 words, words new", first["seconds"][0], "s", "")
    row("segment 512×512, 10,000 words, words known", many["seconds"][1], "s", "")
    print_rows(rows, "One photograph, end to end")
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "numba", "numpy", "pillow", "tyro"])


if __name__ == "__main__":
    main()
