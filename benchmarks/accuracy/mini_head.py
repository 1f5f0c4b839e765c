"""Train the head of known names for ``mini``, and measure it against mini without it.

    python benchmarks/accuracy/mini_head.py build       builds the file of ``--set head=masks``, ATTRIBUTION beside it
    python benchmarks/accuracy/mini_head.py measure     mini_head.json and the rows for mini.md; --parts for some of it

``--data`` names the folder that holds coco-free, coco-free-2, coco-things-free, clothing and ade20k-samples.

* **Training.** Closed-form ridge regression from a patch's features (``models.name_head``) to the share of its
  pixels that has each name; all photographs count alike. Nothing is random but the split of names below.
* **Calibration.** The names are split into four parts (seed 0). For each, a head is trained on coco-things-free without
  the part's names; on coco-free and coco-free-2 its posterior has to say "none" where one of them is. Temperature and the
  score of "none" are those of a small grid with the highest likelihood; mean IoU is never looked at.
* **Leave one photograph out.** A photograph of coco-free or coco-free-2 is segmented with a head, calibration
  included, that has not seen it. No score on photographs that were trained on is reported.
* **Gates.** Each row compares mini with and without the head on the same photographs, with the middle 95 % of 1,000 paired
  draws of photographs. A gate fails where mean IoU falls by more than ``TOLERANCE`` and the whole interval is
  below zero.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.features import PatchFeatures
from lexiseg.core.row_rle import encode_runs
from lexiseg.data.images import load_image
from lexiseg.data.label_files import read_label_map
from lexiseg.inference.predict import encode_images
from lexiseg.inference.segmenter import Segmenter
from lexiseg.methods.conse import ConSE, ConSESettings
from lexiseg.metrics.bootstrap import paired_intervals
from lexiseg.metrics.image_counts import ImageCounts, count_runs
from lexiseg.metrics.iou import iou_of_pixels
from lexiseg.models.name_head import NameHead, NetworkMaps, pack_name_head, patch_features, solve_ridge
from lexiseg.recipes.mini import HEAD_FILE, build_mini

#: Ridge penalty; the features' lengths are fixed by ``models.name_head``.
PENALTY = 1000.0
WITH_HEAD = ConSESettings(head="masks")
NAME_PARTS = 4
TEMPERATURES = (0.05, 0.07, 0.085, 0.1, 0.12, 0.15)
NONE_SCORES = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)

#: Mean IoU, in points, that a gate may lose before it counts as a fall.
TOLERANCE = 0.3
NUM_THINGS = 80
THRESHOLDS = (0.1, 0.2, 0.3)
CLOTHING = {"clothing 1-100": slice(0, 100), "clothing 201-300, held out": slice(200, 300)}

TRAINED = ("coco-free", "coco-free-2", "coco-things-free")
#: Licences in ATTRIBUTION.tsv; the stricter choice takes photographs of the first alone.
BY, FREE = (
    "Attribution License",
    ("Attribution License", "Attribution-ShareAlike License", "No known copyright"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """One photograph as the regression sees it.

    Attributes:
        data_set: Folder it is in.
        path: Its file.
        attribution: Its line of ATTRIBUTION.tsv.
        label_map: Index of a known name a pixel; 65535 = void.
        features: Of each patch.
        shares: Share of each patch's pixels that has each name.
    """

    data_set: str
    path: Path
    attribution: str
    label_map: np.ndarray
    features: Tensor
    shares: Tensor

    @property
    def licence(self) -> str:
        """Name of the photograph's licence."""
        return self.attribution.split("\t")[1]

    def sums(self, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return summed ``x xᵀ`` and ``x yᵀ``; of the patches' pixels with names in ``keep`` alone, if given."""
        shares = self.shares if keep is None else self.shares * keep
        weight = shares.sum(dim=1)
        used = weight > 0
        features = self.features[used]
        return (features * weight[used, None]).T @ features, features.T @ shares[used]


def read(data: Path, names: Sequence[str], licences: tuple[str, ...]) -> list[Photograph]:
    """Read the photographs with one of these licences, their masks by the known names."""
    model = build_mini(ConSESettings()).eval()
    photographs = []
    for data_set in TRAINED:
        folder = data / data_set
        lines = (folder / "ATTRIBUTION.tsv").read_text().splitlines()
        attribution = {line.split("\t")[0]: line for line in lines}
        classes = (folder / "classes.txt").read_text().splitlines()
        table = np.full(65536, IGNORE_INDEX, np.uint16)
        for label, name in enumerate(classes):
            name = name.split("\t")[0]
            table[label] = names.index(name) if name in names else IGNORE_INDEX
        for label_file in sorted((folder / "labels").glob("*.png")):
            path = next((folder / "images").glob(f"{label_file.stem}.*"))
            line = attribution[path.name]
            if not line.split("\t")[1].startswith(licences):
                continue
            label_map = table[read_label_map(label_file)]
            features, grid = describe(model, path)
            photographs.append(
                Photograph(
                    data_set=data_set,
                    path=path,
                    attribution=line,
                    label_map=label_map,
                    features=features,
                    shares=name_shares(label_map, grid, len(names)),
                )
            )
    return photographs


@torch.inference_mode()
def describe(model: Segmenter, path: Path) -> tuple[Tensor, tuple[int, int]]:
    """Give the features of each patch of a photograph, resized as mini resizes it."""
    assert isinstance(model, ConSE)
    network: Any = model.image_encoder

    def encode(images: Tensor) -> PatchFeatures:
        grid = (images.shape[2] // model.stride, images.shape[3] // model.stride)
        _, middle, last = network.encode_with_maps(images)
        tokens = patch_features(images, NetworkMaps(middle=middle, last=last), grid)
        return PatchFeatures(tokens=tokens, grid=grid, stride=model.stride)

    encoded = encode_images(
        encode,
        [load_image(path)],
        [path],
        model="mini",
        stride=model.stride,
        settings=model.settings,
        device=torch.device("cpu"),
    )[0]
    return encoded.features[0].tokens[0], encoded.features[0].grid


def name_shares(label_map: np.ndarray, grid: tuple[int, int], num_names: int) -> Tensor:
    """Count what share of each patch's pixels has each name."""
    rows, columns = (
        np.minimum((np.arange(side) + 0.5) * count / side, count - 1).astype(np.int64)
        for side, count in zip(label_map.shape, grid, strict=True)
    )
    patch = rows[:, None] * grid[1] + columns[None]
    num_patches = grid[0] * grid[1]
    named = label_map != IGNORE_INDEX
    cells = patch[named] * num_names + label_map[named]
    counts = np.bincount(cells, minlength=num_patches * num_names).reshape(num_patches, num_names)
    return torch.from_numpy(counts / np.bincount(patch.ravel(), minlength=num_patches)[:, None]).float()


def calibration_losses(photographs: Sequence[Photograph], num_names: int) -> dict[Path, Tensor]:
    """Give, for each photograph of COCO's own masks, the loss of every temperature and score of "none"."""
    order = torch.randperm(num_names, generator=torch.Generator().manual_seed(0))
    losses = {each.path: torch.zeros(len(TEMPERATURES), len(NONE_SCORES)) for each in judged(photographs)}
    trained = [each for each in photographs if each.path not in losses]
    gram, products = add(each.sums() for each in trained)
    for part in range(NAME_PARTS):
        keep = torch.ones(num_names)
        keep[order[part::NAME_PARTS]] = 0
        hidden_gram, _ = add(
            each.sums(1 - keep) for each in trained
        )  # of a quarter of the pixels: the cheaper part
        weight = solve_ridge(gram - hidden_gram, products * keep, PENALTY)
        for each in judged(photographs):
            scores = (each.features @ weight).masked_fill(keep == 0, -1e9)
            kept, hidden = each.shares * keep, (each.shares * (1 - keep)).sum(dim=1)
            for row, temperature in enumerate(TEMPERATURES):
                for column, none_score in enumerate(NONE_SCORES):
                    head = NameHead([""] * num_names, weight, temperature=temperature, none_score=none_score)
                    posterior = head.posterior(scores)
                    none = (1 - posterior.sum(dim=1)).clamp(min=1e-6)
                    loss = -(kept * (posterior + 1e-6).log()).sum() - (hidden * none.log()).sum()
                    losses[each.path][row, column] += loss
    return losses


def best_calibration(losses: Sequence[Tensor]) -> tuple[float, float]:
    """Return the temperature and the score of "none" with the least summed loss."""
    row, column = divmod(int(torch.stack(list(losses)).sum(dim=0).argmin()), len(NONE_SCORES))
    return TEMPERATURES[row], NONE_SCORES[column]


def judged(photographs: Sequence[Photograph]) -> list[Photograph]:
    """Return the photographs whose masks are COCO's own, on which heads are calibrated and measured."""
    return [each for each in photographs if each.data_set != "coco-things-free"]


def add(sums: Any) -> tuple[Tensor, Tensor]:
    grams, products = zip(*sums, strict=True)
    return sum(grams[1:], grams[0].clone()), sum(products[1:], products[0].clone())


def build(data: Path, out: Path) -> None:
    """Train on all photographs under CC BY, write the file and its attribution, print the hash."""
    names = known_names(data)
    photographs = read(data, names, (BY,))
    temperature, none_score = best_calibration(list(calibration_losses(photographs, len(names)).values()))
    weight = solve_ridge(*add(each.sums() for each in photographs), PENALTY)
    content = pack_name_head(names, weight, temperature=temperature, none_score=none_score)
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(content)
    lines = [
        "# Photographs that mini_head.safetensors was trained on, and their masks: COCO 2017 (annotations CC BY 4.0, COCO",
        "# Consortium); stuff of coco-things-free: our own labels. File, licence, its address, the photograph's address.",
        *sorted("\t".join(each.attribution.split("\t")[:4]) for each in photographs),
    ]
    out.with_name(f"{out.stem}_ATTRIBUTION.tsv").write_text("\n".join(lines) + "\n")
    print(
        f"{out}: {len(content):,} bytes from {len(photographs)} photographs, temperature {temperature}, none {none_score}"
    )
    print(f"SHA-256 {hashlib.sha256(content).hexdigest()}")


def known_names(data: Path) -> list[str]:
    return (data / "coco-free" / "classes.txt").read_text().splitlines()


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


def with_head(plain: ConSE, head: NameHead) -> ConSE:
    """Return mini with a head of our own; networks are shared."""
    model = ConSE(
        plain.image_encoder,
        plain.text_encoder,
        name="mini",
        settings=plain.settings,
        method=WITH_HEAD,
        fingerprints={},
        head=head,
    )
    return model.eval().requires_grad_(False)


def leave_one_out(
    photographs: Sequence[Photograph], trained: Callable[[Photograph], bool], names: Sequence[str]
) -> dict[Path, NameHead]:
    """Train and calibrate, for each photograph of COCO's own masks, a head that has not seen it."""
    used = [each for each in photographs if trained(each)]
    losses = calibration_losses(used, len(names))
    gram, products = add(each.sums() for each in used)
    heads = {}
    for each in judged(photographs):
        own = each.sums() if trained(each) else (0, 0)
        weight = solve_ridge(gram - own[0], products - own[1], PENALTY)
        temperature, none_score = best_calibration(
            [loss for path, loss in losses.items() if path != each.path]
        )
        heads[each.path] = NameHead(names, weight, temperature=temperature, none_score=none_score)
    return heads


def measure_coco(
    plain: ConSE, photographs: Sequence[Photograph], heads: dict[Path, NameHead], names: Sequence[str]
) -> dict[str, Any]:
    """Compare on the photographs of COCO's own masks, each with a head that has not seen it."""
    things = list(names[:NUM_THINGS])
    sets = {
        "all names": Comparison(len(names)),
        "its own names": Comparison(len(names)),
        "80 things, background by name": Comparison(NUM_THINGS + 1),
        "its own things, background by name": Comparison(NUM_THINGS + 1),
        **{f"80 things, background below {least}": Comparison(NUM_THINGS + 1) for least in THRESHOLDS},
    }
    plain_borders, refined_borders = [], []
    for each in judged(photographs):
        model = with_head(plain, heads[each.path])
        both = [(either, either.encode(each.path)) for either in (plain, model)]
        true, as_things = each.label_map, things_or_background(each.label_map)

        def labels(words: Sequence[str], both: Any = both) -> list[Any]:
            return [either.segment(encoded, list(words)) for either, encoded in both]

        sets["all names"].add(true, *(found.label_map for found in labels(names)))
        own = np.unique(true[true != IGNORE_INDEX])
        found = labels([names[label] for label in own])
        sets["its own names"].add(true, *(own[each_found.label_map] for each_found in found))
        coarse = model.segment(both[1][1], [names[label] for label in own], refine="none")
        plain_borders.append(border_f_score(true, own[coarse.label_map]))
        refined_borders.append(border_f_score(true, own[found[1].label_map]))
        sets["80 things, background by name"].add(
            as_things, *(found.label_map for found in labels([*things, "background"]))
        )
        if (own_things := own[own < NUM_THINGS]).size:
            table = np.append(own_things, NUM_THINGS).astype(np.uint16)
            found = labels([*(names[label] for label in own_things), "background"])
            sets["its own things, background by name"].add(as_things, *(table[f.label_map] for f in found))
        found = labels(things)
        for least in THRESHOLDS:
            cut = [np.where(f.score_map < least, np.uint16(NUM_THINGS), f.label_map) for f in found]
            sets[f"80 things, background below {least}"].add(as_things, *cut)
    results = {name: compared.result(is_gate=True) for name, compared in sets.items()}
    results["border F-score, its own names, with the head"] = {
        "refine none": round(100 * float(np.mean(plain_borders)), 3),
        "refine guided": round(100 * float(np.mean(refined_borders)), 3),
    }
    return results


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


def measure_unseen(
    plain: ConSE, photographs: Sequence[Photograph], names: Sequence[str], calibration: tuple[float, float]
) -> dict[str, Any]:
    """Ask for names that were hidden from the head beside those it knows."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    hidden, known = [], []
    for part in range(NAME_PARTS):
        keep = torch.ones(len(names))
        keep[order[part::NAME_PARTS]] = 0
        trained = [each for each in photographs if each.data_set == "coco-things-free"]
        weight = solve_ridge(*add(each.sums(keep) for each in trained), PENALTY)[:, keep > 0]
        kept_names = [name for name, kept in zip(names, keep, strict=True) if kept]
        head = NameHead(kept_names, weight, temperature=calibration[0], none_score=calibration[1])
        model = with_head(plain, head)
        of_hidden = Comparison(len(names), (keep == 0).nonzero()[:, 0].tolist())
        of_known = Comparison(len(names), (keep > 0).nonzero()[:, 0].tolist())
        for each in judged(photographs):
            found = [either.segment(each.path, list(names)).label_map for either in (plain, model)]
            of_hidden.add(each.label_map, *found)
            of_known.add(each.label_map, *found)
        hidden.append(of_hidden.result(is_gate=False))
        known.append(of_known.result(is_gate=False))
    return {"names hidden from the head": hidden, "names that it knows": known}


def measure_clothing(plain: ConSE, model: ConSE, data: Path) -> dict[str, Any]:
    """Ask for garments, most of which the head has no name for."""
    source = data / "clothing"
    garments = (source / "classes.txt").read_text().splitlines()[1:]
    results = {}
    for name, chosen in CLOTHING.items():
        by_name, alone = Comparison(len(garments) + 1), Comparison(len(garments))
        for label_file in sorted((source / "labels").glob("*.png"))[chosen]:
            true = read_label_map(label_file)
            encoded = load_image(next((source / "images").glob(f"{label_file.stem}.*")))
            both = [(either, either.encode(encoded)) for either in (plain, model)]
            by_name.add(true, *(m.segment(e, ["background", *garments]).label_map for m, e in both))
            without_null = np.where(true == 0, np.uint16(IGNORE_INDEX), true - np.uint16(1))
            alone.add(without_null, *(m.segment(e, garments).label_map for m, e in both))
        results[f"{name}: with background"] = by_name.result(is_gate=True)
        results[f"{name}: garments alone"] = alone.result(is_gate=True)
    return results


def measure_ade(plain: ConSE, model: ConSE, data: Path) -> dict[str, Any]:
    """Ask for ADE20K's 150 names, by the first of each; there are three photographs."""
    folder = data / "ade20k-samples"
    rows = (folder / "objectInfo150.txt").read_text().splitlines()[1:]
    names = [row.split("\t")[-1].split(",")[0].strip() for row in rows]
    names = [name if name not in names[:at] else f"{name} {at}" for at, name in enumerate(names)]
    compared = Comparison(len(names))
    for label_file in sorted((folder / "sampleData/annotations").glob("*.png")):
        true = read_label_map(label_file)
        true = np.where(true == 0, np.uint16(IGNORE_INDEX), true - np.uint16(1))
        path = folder / "sampleData/images" / f"{label_file.stem}.jpg"
        compared.add(true, *(either.segment(path, names).label_map for either in (plain, model)))
    return {"ADE20K samples, 150 names": compared.result(is_gate=True)}


def measure_choice(data: Path, licences: tuple[str, ...]) -> dict[str, Any]:
    """Compare on the photographs of COCO's own masks, with heads from photographs of some licences."""
    names = known_names(data)
    photographs = read(data, names, FREE)
    used = [each for each in photographs if each.licence.startswith(licences)]
    heads = leave_one_out(photographs, lambda each: each.licence.startswith(licences), names)
    calibrations = [(head.temperature, head.none_score) for head in heads.values()]
    return {
        "num_photographs": len(used),
        "calibrations": {str(each): calibrations.count(each) for each in dict.fromkeys(calibrations)},
        "rows": measure_coco(without_head(), photographs, heads, names),
    }


def without_head() -> ConSE:
    model = build_mini(ConSESettings()).eval().requires_grad_(False)
    assert isinstance(model, ConSE)
    return model


def built() -> ConSE:
    model = build_mini(WITH_HEAD).eval().requires_grad_(False)
    assert isinstance(model, ConSE)
    return model


def measure_hidden(data: Path) -> dict[str, Any]:
    """Hide names from heads under CC BY, and ask for them."""
    names = known_names(data)
    photographs = read(data, names, FREE)
    kept = [each for each in photographs if each.licence == BY or each.data_set != "coco-things-free"]
    head = built().head
    assert head is not None
    return measure_unseen(without_head(), kept, names, (head.temperature, head.none_score))


#: What is measured, one part after the other; each is written as soon as it is there.
PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "coco": lambda data: measure_choice(data, (BY,)),
    "clothing": lambda data: {"rows": measure_clothing(without_head(), built(), data)},
    "ade": lambda data: {"rows": measure_ade(without_head(), built(), data)},
    "hidden": measure_hidden,
    "all-licences": lambda data: measure_choice(data, FREE),
}


def measure(data: Path, out: Path, parts: Sequence[str]) -> None:
    """Measure parts, write each into the JSON, print the tables, and fail if a gate does."""
    record = json.loads(out.read_text()) if out.exists() else {}
    results = record.get("results", {})
    for part in parts:
        results[part] = PARTS[part](data)
        record = {
            "command": "python benchmarks/accuracy/mini_head.py measure --data ../shared/data",
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
    """Build or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("build", "measure"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order: the same file every time
    if arguments.what == "build":
        build(arguments.data, arguments.out or HEAD_FILE)
    else:
        measure(arguments.data, arguments.out or Path(__file__).with_suffix(".json"), arguments.parts)


if __name__ == "__main__":
    main()
