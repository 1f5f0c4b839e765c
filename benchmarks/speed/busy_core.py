"""A warm ``segment`` of one photograph while another program keeps a core busy, with and without waits that sleep.

    python benchmarks/speed/busy_core.py

OpenMP's threads wait for each other by spinning; beside a busy core they spin until the system takes them off it.
``OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0`` makes them sleep: the command sets both, a person's own setting wins. Writes
busy_core.json beside this file: medians of 7 calls after 2 that are not counted, seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
CALLS = """
import statistics, time
import numpy as np, lexiseg
from skimage import data
from PIL import Image
image = np.asarray(Image.fromarray(data.astronaut()).resize((640, 480)))
model = lexiseg.load("mini", method_settings={"smooth": "none"})
times = []
for _ in range(9):
    start = time.perf_counter()
    model.segment(image, "person, flag, wall")
    times.append(time.perf_counter() - start)
print(statistics.median(times[2:]))
"""


def seconds(environment: dict[str, str]) -> float:
    bare = {name: value for name, value in os.environ.items() if name not in SLEEPING}
    done = subprocess.run(
        [sys.executable, "-c", CALLS], env={**bare, **environment}, capture_output=True, text=True, check=True
    )
    return round(float(done.stdout), 3)


def main() -> None:
    found = {"quiet": {"as torch comes": seconds({}), "sleeping waits": seconds(SLEEPING)}}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        found["one core busy"] = {"as torch comes": seconds({}), "sleeping waits": seconds(SLEEPING)}
    finally:
        busy.kill()
        busy.wait()
    facts = {"cores": os.cpu_count(), **found}
    (HERE / "busy_core.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
