"""How many labels graphs share with their model on photographs: ONNX Runtime, OpenVINO, and both in 8 bits.

Run from the repository root, with the extras ``export`` and ``mini`` (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/accuracy/exported_labels.py ../shared/data

A head for each backbone is fitted to the photographs of coco-free-2 by ``lexiseg fit --prior none``, and written as a graph
by ``lexiseg export-model``; ranges of 8 bits come from the same photographs. Labels and masks are compared on
coco-free, none of which was seen before. Default settings, refined borders. Mean IoU is over the classes that occur; its
interval is the middle 95 % of draws of photographs, that of a difference of the same draws. Writes exported_labels.json
beside this file. ``--backbones`` measures some alone and keeps the other rows.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lexiseg
from lexiseg.core.row_rle import encode_runs
from lexiseg.data.folder import FolderDataset
from lexiseg.metrics.bootstrap import intervals, paired_intervals
from lexiseg.metrics.image_counts import ImageCounts, ImageMargins, count_runs
from lexiseg.metrics.iou import iou_of_pixels

PAGE = Path(__file__).with_suffix(".json")
BACKBONES = ("efficientnet-lite0", "dinov2-small")
PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "openvino")
#: Graph's form, and whether it is in 8 bits.
GRAPHS = {
    "ONNX Runtime": ("onnx", False),
    "OpenVINO": ("openvino", False),
    "ONNX Runtime, 8 bits": ("onnx", True),
    "OpenVINO, 8 bits": ("openvino", True),
}


def lexiseg_says(*words: str) -> str:
    """Run a command and return what it prints."""
    command = [sys.executable, "-m", "lexiseg", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def written(backbone: str, photographs: Path, folder: Path) -> dict[str, Path]:
    """Fit a head and write its graphs; return what is compared, the model itself first."""
    head = folder / backbone
    lexiseg_says("fit", str(photographs), "--out", str(head), "--prior", "none", "--backbone", backbone)
    found = {"torch": head}
    for name, (form, is_int8) in GRAPHS.items():
        found[name] = folder / f"{backbone}-{len(found)}{'.onnx' if form == 'onnx' else '.xml'}"
        how = ["--int8", str(photographs / "images")] if is_int8 else []
        lexiseg_says("export-model", str(head), "--out", str(found[name]), "--to", form, *how)
    return found


def measured(models: dict[str, Path], dataset: FolderDataset) -> list[dict[str, Any]]:
    """Segment every photograph with the model and its graphs."""
    num_classes = len(dataset.vocabulary)
    loaded = {name: lexiseg.load(str(path), device="cpu") for name, path in models.items()}
    counts: dict[str, list[ImageCounts]] = {name: [] for name in models}
    equal, total = dict.fromkeys(models, 0), 0
    for sample in (dataset[index] for index in range(len(dataset))):
        maps = {name: model.segment(sample.image).label_map for name, model in loaded.items()}
        total += maps["torch"].size
        truth = encode_runs(sample.label_map)
        for name, labels in maps.items():
            equal[name] += int((labels == maps["torch"]).sum())
            counts[name].append(count_runs(truth, encode_runs(labels)))
    margins = {name: ImageCounts.join(each).margins(num_classes) for name, each in counts.items()}
    return [
        {
            "graph": name,
            "megabytes": round(size_of(path) / 1e6, 1),
            "equal_labels": round(equal[name] / total, 6),
            **score(margins[name], num_classes),
            "minus_torch_95": difference(margins["torch"], margins[name], num_classes),
        }
        for name, path in models.items()
    ]


def mean_iou(pixels: np.ndarray) -> np.ndarray:
    """Return the mean IoU over the classes that occur."""
    return np.array([iou_of_pixels(*pixels)[pixels[0] > 0].mean()])


def score(margins: ImageMargins, num_classes: int) -> dict[str, Any]:
    """Return the mean IoU of all photographs together, and its interval."""
    pixels = np.zeros((3, num_classes), np.int64)
    np.add.at(pixels.T, margins.label, margins.amounts)
    ends = intervals(margins, num_classes, mean_iou)
    return {
        "mean_iou": round(float(mean_iou(pixels)[0]), 4),
        "mean_iou_95": [round(float(ends.low[0]), 4), round(float(ends.high[0]), 4)],
    }


def difference(first: ImageMargins, second: ImageMargins, num_classes: int) -> list[float]:
    """Return the interval of the second mean IoU minus the first."""
    ends = paired_intervals(first, second, num_classes, mean_iou)
    return [round(float(ends.low[0]), 4), round(float(ends.high[0]), 4)]


def size_of(path: Path) -> int:
    """Return the bytes of a graph, with those beside it, or of a folder."""
    files = path.iterdir() if path.is_dir() else [path, path.with_suffix(".bin")]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--backbones", nargs="*", choices=BACKBONES, default=list(BACKBONES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(PAGE.read_text())["rows"] if PAGE.exists() else []
    dataset = FolderDataset(given.data / "coco-free", labels="only")
    for backbone in given.backbones:
        with tempfile.TemporaryDirectory() as folder:
            found = measured(written(backbone, given.data / "coco-free-2", Path(folder)), dataset)
        rows = [row for row in rows if row["backbone"] != backbone]
        rows += [{"backbone": backbone, **row} for row in found]
        content = {
            "command": "python benchmarks/accuracy/exported_labels.py ../shared/data",
            "photographs": len(dataset),
            "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
            "rows": rows,
        }
        PAGE.write_text(json.dumps(content, indent=1) + "\n")
        print(json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
