"""Memory of the index of captioned tar shards, and what a worker process adds to it. Linux only.

    python benchmarks/speed/captions_index.py [--records 1000000]

Names of records are packed into one buffer of bytes (``PackedKeys``); beside it the same names as a tuple of strings. Each in a
process of its own, which then forks a worker that reads every name once: memory that the worker does not share with it is
what each further worker costs. Extrapolated to the 14.3 million pairs of CC3M and CC12M; writes captions_index.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from timing import write_json

from lexiseg.data.captions.packed_keys import PackedKeys

PAIRS = 14_300_000


def memory(entry: str) -> float:
    """Return one entry of the memory of this process, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")) / 1024


def measure(kind: str, records: int) -> None:
    """Build the index of one kind in this process, fork a worker, print what both take."""
    before = memory("Rss")
    places = np.zeros((records, 4), np.int64)
    places[:] = np.arange(records)[:, None]
    is_json = np.ones(records, np.uint8)
    names = (f"{number // 10_000:05d}{number % 10_000:04d}" for number in range(records))
    if kind == "packed":
        shards = [PackedKeys.of(next(names) for _ in range(10_000)) for _ in range(records // 10_000)]
    else:
        shards = [tuple(next(names) for _ in range(10_000)) for _ in range(records // 10_000)]
    grown = memory("Rss") - before
    reader, writer = os.pipe()
    if not os.fork():
        own = memory("Private_Dirty")
        start = time.perf_counter()
        letters = sum(len(shard[row]) for shard in shards for row in range(len(shard)))
        seconds = time.perf_counter() - start
        facts = {"worker_mb": memory("Private_Dirty") - own, "us_a_name": 1e6 * seconds / records}
        os.write(writer, json.dumps({**facts, "letters": letters}).encode())
        os._exit(0)
    os.wait()
    child = json.loads(os.read(reader, 10_000))
    assert child["letters"] == 9 * records
    print(json.dumps({"index_mb": grown, "places_mb": (places.nbytes + is_json.nbytes) / 1e6, **child}))


def main() -> None:
    """Measure both kinds, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--measure", choices=("packed", "strings"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.records)
        return
    rows = []
    for kind in ("packed", "strings"):
        command = [sys.executable, __file__, "--measure", kind, "--records", str(arguments.records)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        scale = PAIRS / arguments.records / 1000
        row = {"what": f"index of {arguments.records:,} records", "way": kind, **found}
        row |= {"index_gb_of_14_3_million": found["index_mb"] * scale}
        row |= {"worker_gb_of_14_3_million": found["worker_mb"] * scale}
        rows.append(
            {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
        )
        print(json.dumps(rows[-1]))
    write_json(Path(__file__).with_suffix(".json"), rows, ["numpy"])


if __name__ == "__main__":
    main()
