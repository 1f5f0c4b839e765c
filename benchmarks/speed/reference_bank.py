"""Size and speed of a bank of 847 classes: 50 images each, 5 references, 1,024 numbers a feature.

Run from the repository root::

    python benchmarks/speed/reference_bank.py

Features are random; thumbnails are images of the size and detail that a build makes. Writes
``reference_bank.json`` beside this file.
"""

import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn.functional import normalize

from lexiseg.methods.rim.references.bank import ClassReferences, save_bank

CLASSES, IMAGES, REFERENCES, WIDTH = 847, 50, 5, 1024

_OPEN = """
import json, resource, sys, time
import torch
from pathlib import Path
from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.methods.rim.vocabulary_references import match_features, select_references
megabytes = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1]) / 1024
def timed(function, repeats=1):
    best = 1e9
    for _ in range(repeats):
        start = time.perf_counter(); value = function(); best = min(best, time.perf_counter() - start)
    return value, round(1000 * best, 2)
before = megabytes()
bank, open_ms = timed(lambda: ReferenceBank(Path(sys.argv[1])))
bank.features, bank.profiles, bank.references
mapped = megabytes() - before
rows = list(range(len(bank)))
chosen, select_ms = timed(lambda: select_references(bank, rows, rows, RIMSettings()))
few, few_ms = timed(lambda: select_references(bank, rows[:20], rows[:20], RIMSettings()))
regions = torch.randn(100, bank.references.shape[1])
_, match_ms = timed(lambda: match_features(regions, chosen, RIMSettings()), 5)
print(json.dumps({"open_ms": open_ms, "own_memory_of_mapped_bank_mb": round(mapped, 1), "select_847_ms": select_ms,
  "select_20_ms": few_ms, "score_and_match_100_regions_ms": match_ms, "threads": torch.get_num_threads()}))
"""


def thumbnail(random: np.random.Generator) -> bytes:
    image = Image.fromarray(random.integers(90, 160, (8, 8, 3), dtype=np.uint8)).resize((56, 56))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = random.integers(0, 40, 2).tolist()
        colour = tuple(random.integers(0, 255, 3).tolist())
        draw.ellipse((left, top, left + 16, top + 20), fill=colour)
    held = io.BytesIO()
    image.save(held, format="JPEG", quality=70)
    return held.getvalue()


def main() -> None:
    """Make the bank, open it in a fresh process, print and write the numbers."""
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    classes = []
    for index in range(CLASSES):
        features = normalize(torch.randn(IMAGES, WIDTH, generator=generator), dim=-1)
        clusters = torch.arange(IMAGES) % REFERENCES
        means = torch.stack([features[clusters == k].sum(0) for k in range(REFERENCES)])
        classes.append(
            ClassReferences(
                name=f"class {index}",
                key=f"{index:064x}",
                features=features.half(),
                clusters=clusters,
                references=normalize(means, dim=-1),
                negatives=features[:REFERENCES].half(),
                thumbnails=tuple(thumbnail(random) for _ in range(IMAGES)),
                origins=tuple(f"seed {1000 * index + k}" for k in range(IMAGES)),
                facts={"source": "generate", "drawn": IMAGES, "rejected": {}},
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "big.bank")
        start = time.perf_counter()
        save_bank(path, classes, encoder={"name": "random", "fingerprint": "0", "short_side": 518})
        seconds = time.perf_counter() - start
        done = subprocess.run(
            [sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True, check=True
        )
        jpegs = [len(jpeg) for each in classes for jpeg in each.thumbnails]
        result = {
            "classes": CLASSES,
            "images_a_class": IMAGES,
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "bytes_a_thumbnail": round(float(np.mean(jpegs))),
            "write_seconds": round(seconds, 1),
            **json.loads(done.stdout),
        }
    print(json.dumps(result, indent=1))
    result["machine"] = {"system": platform.platform(), "cores": os.cpu_count(), "torch": torch.__version__}
    result["command"] = "python benchmarks/speed/reference_bank.py"
    result["peak_mb_of_writing"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
