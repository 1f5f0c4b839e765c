"""Measure ``mini`` on coco-free and clothing: the plain recipe, every step from it, and what was left out.

Run from the repository root::

    python benchmarks/accuracy/mini.py --data ../shared/data

It has no randomness. It prints a table and writes ``mini.json`` beside this file (about ten minutes
on two cores). The numbers are mmsegmentation's mean IoU and pixel accuracy, in percent, at the
images' original size.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions

from lexiseg.data.folder import FolderDataset
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.conse.segmenter import ConSE
from lexiseg.methods.conse.settings import PLAIN, ConSESettings
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.minilm import load_minilm
from lexiseg.recipes.mini import build_mini
from lexiseg.scoring.evaluate import evaluate

#: Positions of the photographs, among those with masks, that were looked at while choosing, and not.
CLOTHING = slice(0, 100)
HELD_OUT = slice(200, 300)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured variant.

    Attributes:
        block: Part of the table it belongs to.
        name: What differs.
        method: Settings of the method.
        inference: Inference settings that differ from mini's own.
        dilated_stride: Stride of the image encoder itself.
        standardise: Standardise each word's matches over the thousand names.
    """

    block: str
    name: str
    method: ConSESettings
    inference: dict[str, Any] = field(default_factory=dict)
    dilated_stride: int = 32
    standardise: bool = False


def rows() -> list[Row]:
    """List the variants: each step adds to the one before; each removal takes one thing from the recipe."""
    raw = {"refine": "none"}
    bare = raw | {"prompts": "bare"}
    names = replace(PLAIN, num_names=1000, min_similarity=0.4)
    kinds = replace(names, use_kinds=True)
    scene = replace(kinds, scene_weight=1.0)
    person = replace(scene, person_weight=1.0)
    softer = replace(person, image_weight=1.5, temperature=1.5)
    full = ConSESettings(
        head="none", smooth="none"
    )  # trained on photographs that are scored here: see mini_gates.py
    sizes = replace(softer, sizes=full.sizes)
    assert full == replace(sizes, stride=16), "the last step is the recipe"
    steps = [
        Row(block="step", name="plain recipe", method=PLAIN, inference=bare),
        Row(block="step", name='+ "a photo of a {}."', method=PLAIN, inference=raw),
        Row(block="step", name="+ all names, matches from 0.4 on", method=names, inference=raw),
        Row(block="step", name="+ kinds of names", method=kinds, inference=raw),
        Row(block="step", name="+ scene prior", method=scene, inference=raw),
        Row(block="step", name="+ person prior", method=person, inference=raw),
        Row(block="step", name="+ image weight 1.5, temperature 1.5", method=softer, inference=raw),
        Row(block="step", name="+ two sizes", method=sizes, inference=raw),
        Row(block="step", name="+ grid of 16 pixels", method=full, inference=raw),
        Row(block="step", name="+ guided refinement = mini", method=full),
    ]
    without = [
        Row(block="without", name='"a photo of a {}."', method=full, inference=bare),
        Row(block="without", name="all names (top 10)", method=replace(full, num_names=10), inference=raw),
        Row(
            block="without", name="least similarity", method=replace(full, min_similarity=-1.0), inference=raw
        ),
        Row(block="without", name="kinds of names", method=replace(full, use_kinds=False), inference=raw),
        Row(block="without", name="scene prior", method=replace(full, scene_weight=0.0), inference=raw),
        Row(block="without", name="person prior", method=replace(full, person_weight=0.0), inference=raw),
        Row(block="without", name="image weight", method=replace(full, image_weight=0.0), inference=raw),
        Row(block="without", name="temperature", method=replace(full, temperature=1.0), inference=raw),
        Row(block="without", name="second size", method=replace(full, sizes=(1.0,)), inference=raw),
    ]
    left_out = [
        Row(
            block="left out", name="plain, standardised words", method=PLAIN, inference=bare, standardise=True
        ),
        Row(block="left out", name="encoder dilated to 16", method=full, inference=raw, dilated_stride=16),
        Row(block="left out", name="encoder dilated to 8", method=full, inference=raw, dilated_stride=8),
        Row(block="left out", name="short side 320", method=full, inference=raw | {"short_side": 320}),
        Row(block="left out", name="short side 640", method=full, inference=raw | {"short_side": 640}),
    ]
    return steps + without + left_out


def build(row: Row) -> Segmenter:
    """Build the variant."""
    model = build_mini(row.method)  # none of these rows has the head: mini_head.py measures it
    if row.dilated_stride != 32:
        model = ConSE(
            load_efficientnet_lite0(stride=row.dilated_stride),
            load_minilm(),
            name="mini",
            settings=model.settings,
            method=row.method,
            fingerprints={},
        )
    if row.standardise:
        embed = model.embed_texts

        def standardised(names: list[str], prompts: str) -> torch.Tensor:
            matches = embed(names, prompts)
            matches[:, :1000] -= matches[:, :1000].mean(1, keepdim=True)
            matches[:, :1000] /= matches[:, :1000].std(1, keepdim=True)
            return matches

        model.embed_texts = standardised
    return model.eval()


def measure(model: Segmenter, data_set: FolderDataset, row: Row) -> dict[str, float]:
    """Score one variant on one data set."""
    start = time.perf_counter()
    scores = evaluate(model, data_set, **row.inference).scores
    return {
        "mean_iou": round(scores.mean_iou, 5),
        "mean_iou_present": round(scores.mean_iou_present, 5),
        "pixel_accuracy": round(scores.pixel_accuracy, 5),
        "num_images": len(data_set),
        "num_classes": len(data_set.vocabulary),
        "seconds_per_image": round((time.perf_counter() - start) / len(data_set), 3),
    }


def clothing_subset(source: Path, target: Path, chosen: slice) -> Path:
    """Copy some of the masked photographs; label 0, "null" in the list, is asked for as "background"."""
    names = (source / "classes.txt").read_text().splitlines()
    (target / "images").mkdir(parents=True)
    (target / "labels").mkdir()
    (target / "classes.txt").write_text("\n".join(["background", *names[1:]]) + "\n")
    for label in sorted((source / "labels").glob("*.png"))[chosen]:
        shutil.copy(label, target / "labels")
        shutil.copy(next((source / "images").glob(f"{label.stem}.*")), target / "images")
    return target


def main() -> None:
    """Measure all rows, print and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="holds coco-free and clothing"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()

    results = []
    clothing = arguments.data / "clothing"
    with tempfile.TemporaryDirectory() as scratch:
        data_sets = {
            "coco-free": FolderDataset(arguments.data / "coco-free"),
            "clothing": FolderDataset(clothing_subset(clothing, Path(scratch, "clothing"), CLOTHING)),
        }
        held_out = FolderDataset(clothing_subset(clothing, Path(scratch, "held-out"), HELD_OUT))
        for row in rows():
            model = build(row)
            result: dict[str, Any] = {"block": row.block, "name": row.name}
            for name, data_set in data_sets.items():
                result[name] = measure(model, data_set, row)
            if row.name in ("plain recipe", "+ guided refinement = mini"):
                result["clothing held out"] = measure(model, held_out, row)
            settings = asdict(replace(model.settings, **row.inference))
            result["settings"] = settings | asdict(row.method) | {"encoder_stride": row.dilated_stride}
            results.append(result)
            print(json.dumps({key: result[key] for key in ("block", "name", *data_sets)}), flush=True)

    table = Table("", "", *(f"{name}: mIoU, pixel acc. %" for name in data_sets))
    for result in results:
        cells = (100 * result[name][key] for name in data_sets for key in ("mean_iou", "pixel_accuracy"))
        first, second, third, fourth = (f"{cell:.2f}" for cell in cells)
        table.add_row(result["block"], result["name"], f"{first}, {second}", f"{third}, {fourth}")
    Console(width=110).print(table)
    command = "python benchmarks/accuracy/mini.py --data ../shared/data"
    arguments.out.write_text(
        json.dumps(
            {"command": command, "machine": {**machine(), **versions(["torch"])}, "rows": results}, indent=1
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
