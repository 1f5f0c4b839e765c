"""A laptop fit for each regime: what lexiseg fit reaches on photographs, beside mini without its head, from a cold start.

    python benchmarks/accuracy/laptop.py --data ../shared/data

Six folders are made from the photographs of coco-things-free, 84 to learn from and 42 to score, by
``scripts/make_sample_folders.py``. Differences from mini, smoothed and not, have 95 % intervals by bootstrap over
photographs. The first fit also encodes every photograph; the others find the features kept. Times are of the processor.
Writes laptop.json beside this file after each regime; --only chooses some.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "scripts")]

from machine import machine  # noqa: E402
from make_sample_folders import REGIMES, drawn, write_folder  # noqa: E402

import lexiseg  # noqa: E402
from lexiseg.data.folder import FolderDataset  # noqa: E402
from lexiseg.engine.pace import peak_memory  # noqa: E402
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings  # noqa: E402
from lexiseg.models import dinov2_small  # noqa: E402
from lexiseg.recipes.frozen_head import default_backbone  # noqa: E402
from lexiseg.runs.fit import fit, load_head, score, scores_of  # noqa: E402
from lexiseg.scoring.compare import difference, difference_json  # noqa: E402
from lexiseg.scoring.report import Report  # noqa: E402

#: What a fit is compared with: mini without its head of known names, which was trained on some of these photographs.
FLOORS = {"mini": "none", "mini_smoothed": "dinov2"}


def floors(folder: Path) -> dict[str, Report]:
    """Score what there is without a fit."""
    found = {}
    for name, smooth in FLOORS.items():
        if smooth == "none" or dinov2_small.is_present():
            model = lexiseg.load("mini", method_settings={"head": "none", "smooth": smooth})
            report = score(model, folder)
            assert report is not None
            found[name] = report
    return found


def summary(report: Report) -> dict[str, float]:
    scores = {**scores_of(report), "pixel_accuracy": float(report.scores.pixel_accuracy)}
    return {name: round(value, 4) for name, value in scores.items()}


def row(report: Report, floors: dict[str, Report], seconds: float, labels: tuple[str, ...]) -> dict[str, Any]:
    """Give the scores of a fit and the differences from the floors on the same photographs."""
    found: dict[str, Any] = {"labels": list(labels), "scores": summary(report), "seconds": round(seconds, 1)}
    for name, floor in floors.items():
        compared = difference_json(difference(floor.results[0], report.results[0]))
        found[f"minus_{name}"] = {part: compared[part] for part in ("metric", "difference", "interval")}
    return found


def main() -> None:
    """Read the command line, fit and score, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/laptop"))
    parser.add_argument("--only", nargs="+", default=list(REGIMES), choices=REGIMES)
    parser.add_argument("--backbone", default=default_backbone())
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = FrozenHeadSettings(backbone=given.backbone)
    source = FolderDataset(given.data / "coco-things-free", labels="only")
    file = HERE / "laptop.json"
    content: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    content |= {
        "command": "python benchmarks/accuracy/laptop.py --data ../shared/data",
        "photographs": "coco-things-free: 84 learnt from, 42 scored",
        "settings": dataclasses.asdict(settings),
        **machine(),
    }
    rows = content.setdefault("regimes", {})
    order = drawn(source)
    compared: dict[str, Report] = {}
    for regime in given.only:
        folder = write_folder(source, given.out / regime, regime, order)
        start = time.process_time()
        found = fit(folder, given.out / f"{regime}-head", settings, overwrite=True)
        report = score(load_head(given.out / f"{regime}-head"), folder)
        assert report is not None
        seconds = time.process_time() - start
        if not compared:
            compared = floors(folder)
            content["floors"] = {name: summary(floor) for name, floor in compared.items()}
        rows[regime] = row(report, compared, seconds, found.labels)
        content["memory_gib"] = round((peak_memory() or 0) / 2**30, 2)
        print(regime, json.dumps(rows[regime]), flush=True)
        file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
