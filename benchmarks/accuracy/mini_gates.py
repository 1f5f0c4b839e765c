"""Compare mini with and without its head of known names: where it helps, and gates that must not fall.

    python benchmarks/accuracy/mini_gates.py --data ../shared/data        mini_gates.json and the rows for mini.md
    python benchmarks/accuracy/mini_gates.py --parts clothing             some of it

``--data`` names the folder that holds coco-free, coco-free-2, coco-things-free, clothing and ade20k-samples.

* **Leave one photograph out.** A photograph of coco-free or coco-free-2 is segmented with a head, calibration
  included, that has not seen it. No score on photographs that were trained on is reported.
* **Gates.** Each row compares mini with and without the head on the same photographs, with the middle 95 % of 1,000 paired
  draws of photographs. A gate fails where mean IoU falls by more than ``TOLERANCE`` and the whole interval is
  below zero.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions
from mini_head import BY, FREE, NAME_PARTS, PENALTY, Photograph, add, judged, known_names, leave_one_out, read

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.row_rle import encode_runs
from lexiseg.data.label_files import read_label_map
from lexiseg.methods.conse import ConSE, ConSESettings
from lexiseg.metrics.bootstrap import paired_intervals
from lexiseg.metrics.image_counts import ImageCounts, count_runs
from lexiseg.metrics.iou import iou_of_pixels
from lexiseg.models.name_head import NameHead, load_name_head, solve_ridge
from lexiseg.recipes.mini import HEAD, build_mini

#: Mean IoU, in points, that a gate may lose before it counts as a fall.
TOLERANCE = 0.3
NUM_THINGS = 80
THRESHOLDS = (0.1, 0.2, 0.3)
CLOTHING = {"clothing 1-40": slice(0, 40), "clothing 201-300, held out": slice(200, 300)}
WITHOUT = ConSESettings(head="none")


Segment = Callable[..., Any]


class Minis:
    """mini without and with a head; networks are shared, and an image is encoded once for both."""

    def __init__(self) -> None:
        model = build_mini(WITHOUT).eval().requires_grad_(False)
        assert isinstance(model, ConSE)
        self.without = model

    def see(self, image: Any, head: NameHead) -> tuple[Segment, Segment]:
        """Encode an image; return what segments it with words, without and with the head."""
        model = ConSE(
            self.without.image_encoder,
            self.without.text_encoder,
            name="mini",
            settings=self.without.settings,
            method=ConSESettings(),
            fingerprints={},
            head=head,
        ).eval()
        encoded = model.encode(image)
        num_plain = encoded.features[0].tokens.shape[-1] - len(head.names)  # the head's numbers come last
        plain = tuple(replace(each, tokens=each.tokens[..., :num_plain]) for each in encoded.features)
        return partial(self.without.segment, replace(encoded, features=plain)), partial(
            model.segment, encoded
        )


def shipped_head() -> NameHead:
    return load_name_head(HEAD.verified_path())


class Comparison:
    """Label pairs of mini without and with the head on the same photographs, in the order added."""

    def __init__(self, num_classes: int, classes: Sequence[int] | None = None) -> None:
        self.num_classes = num_classes
        self.classes = list(range(num_classes)) if classes is None else list(classes)
        self.pairs: tuple[list, list] = ([], [])

    def add(self, true: np.ndarray, without: np.ndarray, with_head: np.ndarray) -> None:
        """Count one photograph."""
        truth = encode_runs(np.ascontiguousarray(true))
        for kept, labels in zip(self.pairs, (without, with_head), strict=True):
            kept.append(count_runs(truth, encode_runs(np.ascontiguousarray(labels))))

    def numbers(self, pixels: np.ndarray) -> np.ndarray:
        """Return mean IoU (mmsegmentation's) and pixel accuracy of the chosen classes, in percent."""
        true, predicted, correct = pixels[:, self.classes]
        found = iou_of_pixels(true, predicted, correct)
        return 100 * np.array([np.nanmean(found), correct.sum() / max(1, true.sum())])

    def result(self, *, is_gate: bool) -> dict[str, Any]:
        """Return both scores, the interval of their difference, and whether a gate falls."""
        margins = [ImageCounts.join(pairs).margins(self.num_classes) for pairs in self.pairs]
        totals = []
        for each in margins:
            pixels = np.zeros((3, self.num_classes), np.int64)
            for kind in range(3):
                np.add.at(pixels[kind], each.label, each.amounts[:, kind])
            totals.append(self.numbers(pixels))
        between = paired_intervals(margins[0], margins[1], self.num_classes, self.numbers)
        without, with_head = (total.round(3).tolist() for total in totals)
        return {
            "num_images": margins[0].num_images,
            "without": {"mean_iou": without[0], "pixel_accuracy": without[1]},
            "with": {"mean_iou": with_head[0], "pixel_accuracy": with_head[1]},
            "mean_iou_interval": [round(float(between.low[0]), 3), round(float(between.high[0]), 3)],
            "pixel_accuracy_interval": [round(float(between.low[1]), 3), round(float(between.high[1]), 3)],
            "is_gate": is_gate,
            "falls": bool(with_head[0] < without[0] - TOLERANCE and between.high[0] < 0),
        }


def measure_coco(
    photographs: Sequence[Photograph], heads: dict[Path, NameHead], names: list[str]
) -> dict[str, Any]:
    """Compare on the photographs of COCO's own masks, each with a head that has not seen it."""
    minis = Minis()
    things = names[:NUM_THINGS]
    sets = {
        "all names": Comparison(len(names)),
        "its own names": Comparison(len(names)),
        "80 things, background by name": Comparison(NUM_THINGS + 1),
        "its own things, background by name": Comparison(NUM_THINGS + 1),
        **{f"80 things, background below {least}": Comparison(NUM_THINGS + 1) for least in THRESHOLDS},
    }
    borders: dict[str, list[float]] = {"refine none": [], "refine guided": []}
    for each in judged(photographs):
        both = minis.see(each.path, heads[each.path])
        true, as_things = each.label_map, things_or_background(each.label_map)
        sets["all names"].add(true, *(segment(names).label_map for segment in both))
        own = np.unique(true[true != IGNORE_INDEX])
        own_names = [names[label] for label in own]
        found = [own[segment(own_names).label_map] for segment in both]
        sets["its own names"].add(true, *found)
        coarse = own[both[1](own_names, refine="none").label_map]
        for how, labels in zip(borders, (coarse, found[1]), strict=True):
            borders[how].append(100 * border_f_score(true, labels))
        by_name = [segment([*things, "background"]).label_map for segment in both]
        sets["80 things, background by name"].add(as_things, *by_name)
        if (own_things := own[own < NUM_THINGS]).size:
            table = np.append(own_things, NUM_THINGS).astype(np.uint16)
            words = [*(names[label] for label in own_things), "background"]
            found = [table[segment(words).label_map] for segment in both]
            sets["its own things, background by name"].add(as_things, *found)
        alone = [segment(things) for segment in both]
        for least in THRESHOLDS:
            cut = [
                np.where(found.score_map < least, np.uint16(NUM_THINGS), found.label_map) for found in alone
            ]
            sets[f"80 things, background below {least}"].add(as_things, *cut)
    results = {name: compared.result(is_gate=True) for name, compared in sets.items()}
    results["border F-score, its own names, with the head"] = border_row(borders)
    return results


def border_row(borders: dict[str, list[float]]) -> dict[str, Any]:
    """Return mean F-scores with and without refinement, and the interval of the mean gain over photographs."""
    scores = np.array(list(borders.values()))
    draws = np.random.default_rng(0).integers(scores.shape[1], size=(1000, scores.shape[1]))
    gains = (scores[1] - scores[0])[draws].mean(axis=1)
    means = {how: round(float(np.mean(values)), 3) for how, values in borders.items()}
    return {**means, "gain_interval": np.quantile(gains, [0.025, 0.975]).round(3).tolist()}


def things_or_background(label_map: np.ndarray) -> np.ndarray:
    is_stuff = (label_map >= NUM_THINGS) & (label_map != IGNORE_INDEX)
    return np.where(is_stuff, np.uint16(NUM_THINGS), label_map)


def border_f_score(true: np.ndarray, found: np.ndarray, pixels: int = 3) -> float:
    """F-score of borders between labels, matched within some pixels; borders with void are left out."""
    named = true != IGNORE_INDEX
    true_border, found_border = (changes(labels) & named for labels in (true, found))
    true_border &= ~grown(~named, 1)
    precision = (found_border & grown(true_border, pixels)).sum() / max(1, found_border.sum())
    recall = (true_border & grown(found_border, pixels)).sum() / max(1, true_border.sum())
    return float(2 * precision * recall / max(1e-12, precision + recall))


def changes(labels: np.ndarray) -> np.ndarray:
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return border


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    return ndimage.binary_dilation(mask, np.ones((2 * pixels + 1, 2 * pixels + 1)))


def measure_hidden(data: Path) -> dict[str, Any]:
    """Ask for all names where a quarter was hidden from the head, four times, without refinement; heads see coco-things-free."""
    names = known_names(data)
    photographs = read(data, names, FREE)
    trained = [each for each in photographs if each.licence == BY and each.data_set == "coco-things-free"]
    calibration = shipped_head()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    heads, of_hidden, of_known = [], [], []
    for part in range(NAME_PARTS):
        keep = torch.ones(len(names))
        keep[order[part::NAME_PARTS]] = 0
        weight = solve_ridge(*add(each.sums(keep) for each in trained), PENALTY)[:, keep > 0]
        kept_names = [name for name, kept in zip(names, keep, strict=True) if kept]
        heads.append(
            NameHead(
                kept_names, weight, temperature=calibration.temperature, none_score=calibration.none_score
            )
        )
        of_hidden.append(Comparison(len(names), (keep == 0).nonzero()[:, 0].tolist()))
        of_known.append(Comparison(len(names), (keep > 0).nonzero()[:, 0].tolist()))
    minis = Minis()
    for each in judged(photographs):
        for head, hidden, known in zip(heads, of_hidden, of_known, strict=True):
            found = [segment(names, refine="none").label_map for segment in minis.see(each.path, head)]
            hidden.add(each.label_map, *found)
            known.add(each.label_map, *found)
    rows = {
        f"names hidden from the head, part {part}": each.result(is_gate=True)
        for part, each in enumerate(of_hidden)
    }
    return {
        "rows": rows
        | {f"names it knows, part {part}": each.result(is_gate=True) for part, each in enumerate(of_known)}
    }


def measure_clothing(data: Path) -> dict[str, Any]:
    """Ask for garments, most of which the head has no name for."""
    minis, head = Minis(), shipped_head()
    source = data / "clothing"
    garments = (source / "classes.txt").read_text().splitlines()[1:]
    results = {}
    for name, chosen in CLOTHING.items():
        by_name, alone = Comparison(len(garments) + 1), Comparison(len(garments))
        for label_file in sorted((source / "labels").glob("*.png"))[chosen]:
            true = read_label_map(label_file)
            both = minis.see(next((source / "images").glob(f"{label_file.stem}.*")), head)
            by_name.add(true, *(segment(["background", *garments]).label_map for segment in both))
            without_null = np.where(true == 0, np.uint16(IGNORE_INDEX), true - np.uint16(1))
            alone.add(without_null, *(segment(garments).label_map for segment in both))
        results[f"{name}: with background"] = by_name.result(is_gate=True)
        results[f"{name}: garments alone"] = alone.result(is_gate=True)
    return {"rows": results}


def measure_ade(data: Path) -> dict[str, Any]:
    """Ask for ADE20K's 150 names, by the first of each; there are three photographs."""
    minis, head = Minis(), shipped_head()
    folder = data / "ade20k-samples"
    rows = (folder / "objectInfo150.txt").read_text().splitlines()[1:]
    names = [row.split("\t")[-1].split(",")[0].strip() for row in rows]
    names = [name if name not in names[:at] else f"{name} {at}" for at, name in enumerate(names)]
    compared = Comparison(len(names))
    for label_file in sorted((folder / "sampleData/annotations").glob("*.png")):
        true = read_label_map(label_file)
        true = np.where(true == 0, np.uint16(IGNORE_INDEX), true - np.uint16(1))
        path = folder / "sampleData/images" / f"{label_file.stem}.jpg"
        compared.add(true, *(segment(names).label_map for segment in minis.see(path, head)))
    return {"rows": {"ADE20K samples, 150 names": compared.result(is_gate=True)}}


def measure_choice(data: Path, licences: tuple[str, ...]) -> dict[str, Any]:
    """Compare on the photographs of COCO's own masks, with heads from photographs of some licences."""
    names = known_names(data)
    photographs = read(data, names, FREE)  # judged are all, whatever their licence
    used = [each for each in photographs if each.licence.startswith(licences)]
    heads = leave_one_out(photographs, lambda each: each.licence.startswith(licences), names)
    calibrations = [(head.temperature, head.none_score) for head in heads.values()]
    return {
        "num_photographs": len(used),
        "calibrations": {str(each): calibrations.count(each) for each in dict.fromkeys(calibrations)},
        "rows": measure_coco(photographs, heads, names),
    }


#: What is measured, one part after the other; each is written as soon as it is there.
PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "coco": lambda data: measure_choice(data, (BY,)),
    "hidden": measure_hidden,
    "ade": measure_ade,
    "clothing": measure_clothing,
    "all-licences": lambda data: measure_choice(data, FREE),
}


def measure(data: Path, out: Path, parts: Sequence[str]) -> None:
    """Measure parts, write each into the JSON, print the tables, and fail if a gate does."""
    record = json.loads(out.read_text()) if out.exists() else {}
    results = record.get("results", {})
    for part in parts:
        results[part] = PARTS[part](data)
        record = {
            "command": "python benchmarks/accuracy/mini_gates.py --data ../shared/data",
            "machine": {**machine(), **versions(["torch"])},
            "settings": {"penalty": PENALTY, "tolerance": TOLERANCE, "level": 0.95, "draws": 1000, "seed": 0},
            "results": results,
        }
        out.write_text(json.dumps(record, indent=1) + "\n")
    failed = [line for part in results for line in print_rows(part, results[part])]
    if failed:
        raise SystemExit(f"gates that fail: {'; '.join(failed)}")


def print_rows(part: str, content: dict[str, Any]) -> list[str]:
    """Print the rows of a part as the page has them; return its gates that fail."""
    failed = []
    for name, row in content.get("rows", {}).items():
        if "without" not in row:
            print(f"{part}: {name}: {row}")
            continue
        one, two = row["without"], row["with"]
        low, high = row["mean_iou_interval"]
        print(
            f"| {part}: {name} | {row['num_images']} | {one['mean_iou']:.2f} → {two['mean_iou']:.2f} "
            f"({low:+.2f} … {high:+.2f}) | {one['pixel_accuracy']:.2f} → {two['pixel_accuracy']:.2f} |"
        )
        failed += [f"{part}: {name}"] if row["is_gate"] and row["falls"] else []
    return failed


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure(arguments.data, arguments.out, arguments.parts)


if __name__ == "__main__":
    main()
