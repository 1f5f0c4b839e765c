"""A laptop fit for each regime: what lexiseg fit reaches on photographs, beside mini without its head, from a cold start.

    python benchmarks/accuracy/laptop.py --data ../shared/data

Six folders are made from the photographs of coco-things-free, 84 to learn from and 42 to score, drawn once: masks of all
classes; masks of two classes in three, with tags or only names for the others; tags alone; captions that were made from the
masks (there are no free photographs with both); names alone. Differences from mini have 95 % intervals by bootstrap over
photographs. The first fit also encodes every photograph; the others find the features kept. Times are of the processor.
Writes laptop.json beside this file after each regime; --only chooses some.
"""

import argparse
import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

import lexiseg  # noqa: E402
from lexiseg.core.constants import IGNORE_INDEX  # noqa: E402
from lexiseg.data.folder import FolderDataset  # noqa: E402
from lexiseg.engine.pace import peak_memory  # noqa: E402
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings  # noqa: E402
from lexiseg.recipes.frozen_head import default_backbone  # noqa: E402
from lexiseg.runs.fit import fit, load_head, score, scores_of  # noqa: E402
from lexiseg.scoring.compare import difference, difference_json  # noqa: E402
from lexiseg.scoring.report import Report  # noqa: E402

REGIMES = ("masks", "masks-and-tags", "masks-and-names", "tags", "captions", "names")
#: A class shows in an image, for tags and captions, from this share of its pixels on.
_SHOWN = 0.005


def write_folder(source: FolderDataset, out: Path, regime: str, num_val: int) -> Path:
    """Write a sample folder; the photographs of val.txt keep all masks."""
    shutil.rmtree(out, ignore_errors=True)
    for part in ("images", "labels"):
        (out / part).mkdir(parents=True)
    names = source.vocabulary.names
    shutil.copy(source.path / "classes.txt", out / "classes.txt")
    order = np.random.default_rng(0).permutation(len(source)).tolist()
    hidden = set(np.random.default_rng(1).permutation(len(names))[: len(names) // 3].tolist())
    with_masks = regime.startswith("masks")
    is_partial = regime.startswith("masks-and")
    tags, captions = [], []
    for place, index in enumerate(order):
        path, stem = source.image_path(index), source.stems[index]
        shutil.copy(path, out / "images" / path.name)
        labels = source.read_label_map(index)
        assert labels is not None
        shares = np.bincount(labels.ravel(), minlength=IGNORE_INDEX + 1)[: len(names)] / labels.size
        shown = [label for label in np.argsort(-shares).tolist() if shares[label] > _SHOWN]
        is_val = place < num_val
        if not is_val and is_partial:
            labels = np.where(np.isin(labels, list(hidden)), IGNORE_INDEX, labels).astype(np.uint16)
        if is_val or with_masks:
            Image.fromarray(np.where(labels == IGNORE_INDEX, 255, labels).astype(np.uint8)).save(
                out / "labels" / f"{stem}.png"
            )
        if not is_val and regime in ("masks-and-tags", "tags"):
            tags.append(f"{stem}\t{', '.join(names[label] for label in shown)}\n")
        if not is_val and regime == "captions" and shown:
            captions.append(f"{stem}\tA photograph of {' and '.join(names[label] for label in shown[:3])}.\n")
    (out / "val.txt").write_text("".join(f"{source.stems[index]}\n" for index in order[:num_val]))
    (out / "train.txt").write_text("".join(f"{source.stems[index]}\n" for index in order[num_val:]))
    if is_partial:
        (out / "seen.txt").write_text(
            "".join(f"{name}\n" for label, name in enumerate(names) if label not in hidden)
        )
    for file, lines in (("tags.tsv", tags), ("captions.tsv", captions)):
        if lines:
            (out / file).write_text("".join(lines))
    return out


def row(report: Report, mini: Report, seconds: float, labels: tuple[str, ...]) -> dict[str, Any]:
    """Give the scores of a fit and the difference from mini on the same photographs."""
    compared = difference_json(difference(mini.results[0], report.results[0]))
    return {
        "labels": list(labels),
        "scores": {name: round(value, 4) for name, value in scores_of(report).items()},
        "pixel_accuracy": round(float(report.scores.pixel_accuracy), 4),
        "minus_mini": {name: compared[name] for name in ("metric", "difference", "interval")},
        "seconds": round(seconds, 1),
    }


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
    mini = None
    for regime in given.only:
        folder = write_folder(source, given.out / regime, regime, len(source) // 3)
        start = time.process_time()
        found = fit(folder, given.out / f"{regime}-head", settings, overwrite=True)
        report = score(load_head(given.out / f"{regime}-head"), folder)
        assert report is not None
        seconds = time.process_time() - start
        if mini is None:
            # Its head of known names was trained on some of these photographs.
            mini = score(lexiseg.load("mini", method_settings={"head": "none", "smooth": "none"}), folder)
            assert mini is not None
            content["mini"] = {name: round(value, 4) for name, value in scores_of(mini).items()}
            content["mini"]["pixel_accuracy"] = round(float(mini.scores.pixel_accuracy), 4)
        rows[regime] = row(report, mini, seconds, found.labels)
        content["memory_gib"] = round((peak_memory() or 0) / 2**30, 2)
        print(regime, json.dumps(rows[regime]), flush=True)
        file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
