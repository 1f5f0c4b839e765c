"""Distil mini without masks on real photographs: quality and speed of teacher and student; writes distil.json.

    python benchmarks/accuracy/distil.py --data ../shared/data [--rows ROW ...]

*coco*: 126 photographs of coco-things-free without labels, and the 129 names of coco-free; scored on the 53 of coco-free and
coco-free-2. mini's head learnt from masks of some of these 53: mini is read as a teacher, not as a result. *clothing*: 300
photographs of Clothing Co-Parsing without labels, 100 others to score, 59 names; mini learnt from none of them.

Every row is ``lexiseg distil`` as a person runs it, with a frozen student whose maps are kept; the backbone of mini, or
DINOv2-small, which has to be fetched once. Rows of earlier runs stay in the JSON.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.core.json_text import read_json_file  # noqa: E402
from lexiseg.data.folder import FolderDataset  # noqa: E402
from lexiseg.data.published.clothing import held_out  # noqa: E402

STEPS = 1_000
#: Students, all at a long side that both fit, in steps of four images.
STUDENTS = ("efficientnet-lite0", "dinov2-small")
SIZE, BATCH = 224, 4
TRAINED = 300


def coco(data: Path, out: Path) -> None:
    """Link the photographs of coco: all of coco-things-free to learn from, the others to score."""
    scored = []
    for name in ("coco-things-free", "coco-free", "coco-free-2"):
        for path in sorted((data / name / "images").iterdir()):
            (out / "images" / f"{name}-{path.name}").symlink_to(path.resolve())
            label = data / name / "labels" / f"{path.stem}.png"
            if name != "coco-things-free":
                (out / "labels" / f"{name}-{label.name}").symlink_to(label.resolve())
                scored.append(f"{name}-{path.stem}")
    (out / "classes.txt").write_bytes((data / "coco-free" / "classes.txt").read_bytes())
    (out / "val.txt").write_text("\n".join(scored) + "\n")


def clothing(data: Path, out: Path) -> None:
    """Link photographs with masks: those that tables score, and others without their labels."""
    folder = FolderDataset(data / "clothing", labels="only")
    left_out = set(held_out(folder.stems))
    others = [index for index in range(len(folder)) if index not in left_out][:TRAINED]
    scored = []
    for index in (*others, *sorted(left_out)):
        sample, stem = folder[index], folder.stems[index]
        (out / "images" / sample.source.name).symlink_to(sample.source.resolve())
        if index in left_out:
            Image.fromarray(sample.label_map).save(out / "labels" / f"{stem}.png")
            scored.append(stem)
    (out / "classes.txt").write_bytes((data / "clothing" / "classes.txt").read_bytes())
    (out / "val.txt").write_text("\n".join(scored) + "\n")


SETS = {"coco": coco, "clothing": clothing}


def main() -> None:
    """Read the command line, distil and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/distil"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--labels", nargs="+", choices=("none", "teacher"), default=["none", "teacher"])
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    file = HERE / "distil.json"
    rows = read_json_file(file)["rows"] if file.is_file() else {}
    for name in given.sets:
        folder = given.out / name
        if not folder.is_dir():
            for part in ("images", "labels"):
                (folder / part).mkdir(parents=True)
            SETS[name](given.data, folder)
        for student in given.students:
            for labels in given.labels:
                run = given.out / f"{name}-{student}-{labels}-{given.steps}"
                said = given.out / f"{name}-said"  # by mini, once for all students
                if labels == "teacher" and said.is_dir() and not run.exists():
                    shutil.copytree(said, run / "pseudo_masks")
                options = {
                    "teacher": "mini",
                    "labels": labels,
                    "student": student,
                    "size": SIZE,
                    "batch-size": BATCH,
                    "num-steps": given.steps,
                    "data": folder,
                    "out": run,
                }
                command = [sys.executable, "-m", "lexiseg", "distil", "--freeze", "--quiet"]
                command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
                start = time.perf_counter()
                subprocess.run(
                    [*command, *(["--resume"] if (run / "recipe.json").is_file() else [])], check=True
                )
                if labels == "teacher" and not said.is_dir():
                    shutil.copytree(run / "pseudo_masks", said)
                found = read_json_file(run / "comparison.json")
                minutes = round((time.perf_counter() - start) / 60, 1)
                facts = {"steps": given.steps, "minutes": minutes, **machine()}
                rows[f"{name}, {student}, labels {labels}"] = facts | found
                content = {"command": "python benchmarks/accuracy/distil.py --data FOLDER", "rows": rows}
                file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
