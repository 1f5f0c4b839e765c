"""Table 10's question with real features: a linear probe, plain logistic regression and names, on photographs of things.

    python benchmarks/accuracy/classify.py [--train FOLDER …] [--test FOLDER …] [--model mini …]

FOLDERs have classes.txt, images/ and labels/. What is classified is the part of a photograph that a thing fills: the box around
all pixels of one class, a tenth wider, where both sides have 48 pixels or more; of the classes with at least six such boxes in
the training folders and one in the others. They are written as images, and then scored as ``lexiseg classify MODEL
--images TEST --train TRAIN --views 4`` does. Writes classify.json.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.data.folder import FolderDataset  # noqa: E402
from lexiseg.runs.classification import classify_folders  # noqa: E402
from lexiseg.runs.load import load  # noqa: E402

#: The first names of COCO's panoptic classes are things.
NUM_THINGS = 80
LEAST_SIDE, LEAST_TRAINING, MARGIN = 48, 6, 0.1

Crop = tuple[str, np.ndarray]


def crops(folders: list[Path]) -> list[Crop]:
    """Cut every thing out of every photograph."""
    found = []
    for folder in folders:
        data = FolderDataset(folder, labels="only")
        for sample in data:
            assert sample.label_map is not None
            for label in np.unique(sample.label_map):
                if label >= min(NUM_THINGS, len(data.vocabulary)):
                    continue
                rows, columns = np.nonzero(sample.label_map == label)
                box = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
                sides = (box[1] - box[0], box[3] - box[2])
                if min(sides) < LEAST_SIDE:
                    continue
                wider = [round(MARGIN * side / 2) for side in sides for _ in range(2)]
                top, bottom, left, right = (
                    max(0, at + sign * more)
                    for at, sign, more in zip(box, (-1, 1, -1, 1), wider, strict=True)
                )
                found.append((data.vocabulary.names[label], sample.image[top:bottom, left:right]))
    return found


def write(found: list[Crop], names: set[str], out: Path) -> Counter[str]:
    """Write the crops of some classes, one folder a class; return how many there are."""
    counts: Counter[str] = Counter()
    for name, image in found:
        if name in names:
            (out / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(out / name / f"{counts[name]:03d}.png")
            counts[name] += 1
    return counts


def main() -> None:
    """Cut, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = Path("../shared/data")
    parser.add_argument("--train", type=Path, nargs="+", default=[data / "coco-things-free"])
    parser.add_argument("--test", type=Path, nargs="+", default=[data / "coco-free", data / "coco-free-2"])
    parser.add_argument("--model", nargs="+", default=["mini"])
    arguments = parser.parse_args()
    train, test = crops(arguments.train), crops(arguments.test)
    often = {name for name, count in Counter(name for name, _ in train).items() if count >= LEAST_TRAINING}
    names = often & {name for name, _ in test}
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / part for part in ("train", "test")]
        counts = [write(found, names, folder) for found, folder in zip((train, test), folders, strict=True)]
        for model in arguments.model:
            found = classify_folders(load(model), folders[1], train=folders[0])
            rows[model] = {kind: {f"top{k}": value for k, value in by.items()} for kind, by in found.items()}
            print(model, json.dumps(rows[model], indent=1), flush=True)
    largest = max(counts[1].values()) / sum(counts[1].values())
    facts = {
        "command": "python benchmarks/accuracy/classify.py",
        **machine(),
        "classes": {name: [part[name] for part in counts] for name in sorted(names)},
        "num_train": sum(counts[0].values()),
        "num_test": sum(counts[1].values()),
        "most_frequent_class": largest,
        "models": rows,
    }
    (HERE / "classify.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(
        f"{len(names)} classes, {facts['num_train']} and {facts['num_test']} images, chance {1 / len(names):.3f}"
    )


if __name__ == "__main__":
    main()
