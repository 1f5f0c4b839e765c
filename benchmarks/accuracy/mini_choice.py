"""Choose how mini's head shares, on photographs that judge nothing else.

    python benchmarks/accuracy/mini_choice.py --data ../shared/data

Photographs: coco-things-free, each with a head trained on the others of it under CC BY; none of coco-free and
coco-free-2, where ``mini_gates.py`` measures the choice. Scores are compared patch by patch, without upsampling. A row is
one setting of ``GRID``; the one with the highest sum of the four mean IoUs is taken. Writes mini_choice.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions
from mini_gates import Mini, Seen, shipped_head
from mini_head import BY, FREE, NUM_THINGS, PENALTY, add, known_names, like, read

from lexiseg.core.features import PatchFeatures
from lexiseg.methods.conse.segmenter import ConSE
from lexiseg.models.name_head import NameHead, solve_ridge

DATA_SET = "coco-things-free"
GRID = {"head_thing_share": (0.0, 0.2, 0.35, 0.5, 1.0), "head_background": (0.0, 0.15, 0.3)}


class Confusion:
    """Sums of pixels by class, from each patch's shares and its one label."""

    def __init__(self, num_classes: int) -> None:
        self.pixels = torch.zeros(3, num_classes)

    def add(self, shares: Tensor, labels: Tensor) -> None:
        """Count a photograph: true, predicted and correct."""
        self.pixels[0] += shares.sum(dim=0)
        self.pixels[1].index_add_(0, labels, shares.sum(dim=1))
        self.pixels[2].index_add_(0, labels, shares.gather(1, labels[:, None])[:, 0])

    def mean_iou(self) -> float:
        """Return the mean over classes that are there or were named, in percent."""
        true, predicted, correct = self.pixels
        union = true + predicted - correct
        return 100 * float((correct / union)[union > 1e-6].mean())


class Sets:
    """The four lists of words: all names, a photograph's own; all things, its own, with background by name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        counts = {
            "all names": len(names),
            "its own names": len(names),
            "things": NUM_THINGS + 1,
            "its own things": NUM_THINGS + 1,
        }
        self.confusions = {name: Confusion(count) for name, count in counts.items()}

    def add(self, model: ConSE, seen: Seen, shares: Tensor, embeddings: Tensor) -> None:
        """Label the patches of a photograph four times. Rows of embeddings: the names, then background."""
        own = (shares.sum(dim=0) > 0).nonzero()[:, 0].tolist()
        things = list(range(NUM_THINGS))
        stuff = shares[:, NUM_THINGS:].sum(dim=1, keepdim=True)
        as_things = torch.cat([shares[:, :NUM_THINGS], stuff], dim=1)
        asked = {
            "all names": (list(range(len(self.names))), shares),
            "its own names": (own, shares),
            "things": ([*things, NUM_THINGS], as_things),
            "its own things": ([*(label for label in own if label < NUM_THINGS), NUM_THINGS], as_things),
        }
        features = PatchFeatures(tokens=seen.plain[None], grid=seen.grid, stride=model.stride)
        for name, (labels, true) in asked.items():
            rows = torch.tensor(labels)
            if "things" in name:
                rows[-1] = len(self.names)
            scores = model.class_scores(features, embeddings[rows])[0].flatten(1)
            self.confusions[name].add(true, torch.tensor(labels)[scores.argmax(dim=0)])

    def result(self) -> dict[str, float]:
        """Return the mean IoUs."""
        return {name: round(each.mean_iou(), 3) for name, each in self.confusions.items()}


def heads_by_photograph(photographs: Sequence, shipped: NameHead) -> dict[Path, NameHead]:
    """Train a head for each photograph on the others under CC BY."""
    gram, products = add(each.sums() for each in photographs if each.licence == BY)
    heads = {}
    for each in photographs:
        own = each.sums() if each.licence == BY else (0, 0)
        weight = solve_ridge(gram - own[0], products - own[1], PENALTY)
        heads[each.path] = like(shipped, shipped.names, weight, NUM_THINGS)
    return heads


@torch.inference_mode()
def choose(data: Path, cache: Path) -> list[dict]:
    """Measure every setting, and mini without its head."""
    cache.mkdir(parents=True, exist_ok=True)
    mini, names = Mini(cache), known_names(data)
    photographs = read(data, names, FREE, mini.features, [DATA_SET])
    shipped = shipped_head()
    seen = {}
    for path, head in heads_by_photograph(photographs, shipped).items():
        one = mini.see(path)
        known = mini.with_head(head).method.head_weight * head.posterior(one.features @ head.weight)
        seen[path] = replace(one, plain=torch.cat([one.plain, known], dim=1))
    model = mini.with_head(shipped)
    num_plain = model.embed_texts([names[0]], "single").shape[1] - len(names)
    rows = []
    for values in [None, *product(*GRID.values())]:
        changes = {} if values is None else dict(zip(GRID, values, strict=True))
        model.method = replace(model.method, **changes)
        embeddings = model.embed_texts([*names, "background"], "single")
        if values is None:
            embeddings[:, num_plain:] = 0
        sets = Sets(names)
        for each in photographs:
            sets.add(model, seen[each.path], each.shares, embeddings)
        found = sets.result()
        rows.append({"settings": changes or "no head", **found, "sum": round(sum(found.values()), 3)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measure, and say which setting is taken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("build/mini_gates"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = choose(arguments.data, arguments.cache)
    best = max(rows, key=lambda row: row["sum"])
    record = {
        "command": "python benchmarks/accuracy/mini_choice.py --data ../shared/data",
        "machine": {**machine(), **versions(["torch"])},
        "chosen": best["settings"],
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"chosen: {best['settings']}")


if __name__ == "__main__":
    main()
