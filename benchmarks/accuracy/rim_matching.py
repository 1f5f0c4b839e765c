"""Measure how ``rim`` names regions with DINOv2-small, references being masks of other photographs.

Run from the repository root (extra ``dino``: ``lexiseg models --get dinov2-small``)::

    python benchmarks/accuracy/rim_matching.py --data ../shared/data --cache FOLDER

Features of regions are computed once and kept in FOLDER (``rim_features.py``). Every photograph is named with references
from the photographs of other folds; classes that those do not show cannot win and count as misses. Settings are
chosen inside the other folds (nested), never on the photographs that are scored. Prints rows and writes
``rim_matching.json`` beside this file.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions
from rim_features import FLOOR_SIDE, SHORT_SIDE, Encoders, OnceAnImage, Regions, kept_regions

from lexiseg.core.interfaces import ImageEncoder
from lexiseg.data.folder import FolderDataset
from lexiseg.methods.rim.references.bank import ClassReferences, ReferenceBank, save_bank
from lexiseg.methods.rim.references.build_class import pool_image
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.methods.rim.references.sources import ReferenceImage
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.methods.rim.vocabulary_references import match_features, select_references
from lexiseg.models.dinov2 import Dinov2ImageEncoder, load_dinov2
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.region_proposer import DINOV2_REGIONS, RegionProposer
from lexiseg.ops.spherical_kmeans import spherical_kmeans

NUM_FOLDS, NUM_INNER, NUM_BOOTSTRAP = 8, 4, 2000
#: At most so many photographs of a class make its references.
MAX_IMAGES, SUBCATEGORIES = 50, 5

#: What the nested selection chooses from.
GRID = [
    {"standardise": how, "temperature": temperature, "divergence": kind}
    for how, temperatures in {
        "bank": (0.1, 0.3, 1.0),
        "candidates": (0.1, 0.3, 1.0),
        "none": (0.02, 0.05, 0.1),
    }.items()
    for temperature in temperatures
    for kind in ("kl", "jensen_shannon")
]
COSINE = {"ranking": "cosine"}


@dataclass
class Photographs:
    """Photographs of one vocabulary with the features of their regions."""

    name: str
    num_classes: int
    true: list[Regions]
    proposed: list[Regions]
    banks: dict[tuple[Any, ...], ReferenceBank] = field(default_factory=dict)


def class_of(regions: Regions) -> Float[Tensor, " Q"]:
    """Return the class with the most pixels of each region."""
    return regions.pixels.argmax(1)


def make_bank(features: Float[Tensor, "P D"], classes: Tensor, path: Path) -> ReferenceBank:
    """Write references of features that have a class; a class is named by its number."""
    rows = []
    for label in classes.unique().tolist():
        own = features[classes == label][:MAX_IMAGES].half().float()
        found = spherical_kmeans(own, min(SUBCATEGORIES, len(own)))
        rows.append(
            ClassReferences(
                name=str(label),
                key="",
                features=own,
                clusters=found.assignment,
                references=found.centroids,
                negatives=own[:0],
                thumbnails=(b"\0",) * len(own),
                origins=("photograph",) * len(own),
                facts={"source": "masks", "drawn": len(own), "rejected": {}},
            )
        )
    save_bank(path, rows, encoder={"name": "dinov2-small", "fingerprint": "", "short_side": SHORT_SIDE})
    return ReferenceBank(path)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What one way of naming said about the regions of one photograph."""

    labels: Tensor
    pixels: Tensor

    @property
    def right(self) -> float:
        """Number of regions whose largest class was named."""
        return float((self.labels == self.pixels.argmax(1)).sum())

    def confusion(self, num_classes: int) -> np.ndarray:
        """Return pixels of each true class (rows) by named class."""
        table = torch.zeros(num_classes, num_classes)
        return table.index_add_(1, self.labels, self.pixels.T).numpy()


def by_bank(bank: ReferenceBank, settings: RIMSettings) -> Callable[[Tensor], Tensor]:
    """Return how a bank names features."""
    chosen = select_references(bank, range(len(bank)), range(len(bank)), settings)
    numbers = torch.tensor([int(name) for name in bank.names])
    return lambda features: numbers[match_features(features, chosen, settings)[0].labels]


def folds_of(count: int, folds: int) -> list[int]:
    """Deal photographs to folds."""
    return (np.random.default_rng(0).permutation(count) % folds).tolist()


def bank_without(photographs: Photographs, kept: tuple[int, ...], scratch: Path) -> ReferenceBank:
    """Return the bank of the true regions of some photographs."""
    if kept not in photographs.banks:
        features = torch.cat([photographs.true[index].features for index in kept])
        classes = torch.cat([class_of(photographs.true[index]) for index in kept])
        path = scratch / f"{photographs.name}-{len(photographs.banks)}.bank"
        photographs.banks[kept] = make_bank(features, classes, path)
    return photographs.banks[kept]


def named(
    photographs: Photographs, kind: str, fold: list[int], scratch: Path, method: dict[str, Any]
) -> list[Outcome]:
    """Name every photograph with references of the other folds."""
    settings = RIMSettings(**method)
    out: list[Outcome | None] = [None] * len(fold)
    for number in sorted(set(fold)):
        kept = tuple(index for index, each in enumerate(fold) if each != number)
        name = by_bank(bank_without(photographs, kept, scratch), settings)
        for index, each in enumerate(fold):
            if each == number:
                regions = getattr(photographs, kind)[index]
                out[index] = Outcome(labels=name(regions.features), pixels=regions.pixels)
    return out  # type: ignore[return-value]


def named_by_features(
    photographs: Photographs, kind: str, fold: list[int], of: Callable[[Regions], Tensor], scratch: Path
) -> list[Outcome]:
    """Name every photograph by plain cosine in another space than DINOv2's."""
    out: list[Outcome | None] = [None] * len(fold)
    for number in sorted(set(fold)):
        kept = [index for index, each in enumerate(fold) if each != number]
        features = torch.cat([of(photographs.true[index]) for index in kept])
        classes = torch.cat([class_of(photographs.true[index]) for index in kept])
        mean, deviation = features.mean(0), features.std(0) + 1e-6  # as every entry has a unit of its own
        ready = normalize((features - mean) / deviation, dim=-1)
        name = by_bank(make_bank(ready, classes, scratch / "floor.bank"), RIMSettings(ranking="cosine"))
        for index, each in enumerate(fold):
            if each == number:
                regions = getattr(photographs, kind)[index]
                asked = normalize((of(regions) - mean) / deviation, dim=-1)
                out[index] = Outcome(labels=name(asked), pixels=regions.pixels)
    return out  # type: ignore[return-value]


def named_by_neighbours(photographs: Photographs, kind: str, fold: list[int], what: str) -> list[Outcome]:
    """Name every photograph by the nearest single image, or by its patches' nearest patches and their vote."""
    out: list[Outcome | None] = [None] * len(fold)
    for number in sorted(set(fold)):
        kept = [index for index, each in enumerate(fold) if each != number]
        classes = torch.cat([class_of(photographs.true[index]) for index in kept])
        means = torch.cat([photographs.true[index].features for index in kept])
        patches = torch.cat([photographs.true[index].tokens[:, ::3] for index in kept])
        for index, each in enumerate(fold):
            if each != number:
                continue
            regions = getattr(photographs, kind)[index]
            if what == "image":
                labels = classes[(regions.features @ means.T).argmax(1)]
            else:
                nearest = (regions.tokens[:, ::3].flatten(0, 1) @ patches.flatten(0, 1).T).argmax(1)
                votes = classes[nearest // patches.shape[1]].reshape(len(regions.features), -1)
                labels = votes.mode(1).values if len(votes) else votes.new_zeros(0)
            out[index] = Outcome(labels=labels, pixels=regions.pixels)
    return out  # type: ignore[return-value]


def named_by_chance(photographs: Photographs, kind: str, fold: list[int]) -> list[Outcome]:
    """Name every region by the class that has the most regions in the other folds."""
    out: list[Outcome | None] = [None] * len(fold)
    for index, each in enumerate(fold):
        kept = [class_of(photographs.true[i]) for i, number in enumerate(fold) if number != each]
        regions = getattr(photographs, kind)[index]
        labels = torch.full((len(regions.pixels),), int(torch.cat(kept).mode().values))
        out[index] = Outcome(labels=labels, pixels=regions.pixels)
    return out  # type: ignore[return-value]


def score_of(outcomes: Sequence[Outcome], kind: str) -> float:
    """Return what the selection maximises: right regions of truth, right pixels of proposals."""
    if kind == "true":
        return sum(each.right for each in outcomes) / sum(len(each.labels) for each in outcomes)
    right = sum(float(each.pixels.gather(1, each.labels[:, None]).sum()) for each in outcomes)
    return right / sum(float(each.pixels.sum()) for each in outcomes)


def named_nested(
    photographs: Photographs, kind: str, fold: list[int], scratch: Path
) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """Name every photograph with the settings that are best inside the other folds."""
    out: list[Outcome | None] = [None] * len(fold)
    picked = []
    for number in sorted(set(fold)):
        kept = [index for index, each in enumerate(fold) if each != number]
        inside = Photographs(
            f"{photographs.name}-{kind}-{number}",
            photographs.num_classes,
            [photographs.true[index] for index in kept],
            [photographs.proposed[index] for index in kept],
        )
        inner = folds_of(len(kept), NUM_INNER)
        scores = [score_of(named(inside, kind, inner, scratch, method), kind) for method in GRID]
        picked.append(GRID[int(np.argmax(scores))])
        whole = named(photographs, kind, fold, scratch, picked[-1])
        for index, each in enumerate(fold):
            if each == number:
                out[index] = whole[index]
    return out, picked  # type: ignore[return-value]


@lru_cache
def draws(count: int) -> Float[Tensor, "B N"]:
    """Return how often each photograph is drawn in every bootstrap sample; the first row is all once."""
    random = np.random.default_rng(0)
    table = np.ones((NUM_BOOTSTRAP + 1, count), np.float32)
    for row in table[1:]:
        row[:] = np.bincount(random.integers(0, count, count), minlength=count)
    return torch.from_numpy(table)


def measures(outcomes: Sequence[Outcome], kind: str, num_classes: int) -> dict[str, Tensor]:
    """Return each number in percent for all photographs (first) and every bootstrap sample."""
    weights = draws(len(outcomes))
    if kind == "true":
        right = weights @ torch.tensor([each.right for each in outcomes])
        total = weights @ torch.tensor([float(len(each.labels)) for each in outcomes])
        return {"right_regions": 100 * right / total}
    hit, said, truth = [], [], []
    for each in outcomes:
        table = each.confusion(num_classes)
        hit.append(np.diag(table)), said.append(table.sum(0)), truth.append(table.sum(1))
    hits, saids, truths = (weights @ torch.from_numpy(np.stack(part)) for part in (hit, said, truth))
    union = saids + truths - hits
    iou = torch.where(union > 0, hits / union.clamp(min=1), torch.nan)
    return {"pixels": 100 * hits.sum(1) / truths.sum(1), "mean_iou": 100 * iou.nanmean(1)}


def row_of(
    name: str, outcomes: Sequence[Outcome], cosine: Sequence[Outcome], kind: str, num_classes: int
) -> dict[str, Any]:
    """Return the numbers of one way of naming, its differences from cosine and their 95 % intervals."""
    row: dict[str, Any] = {"name": name, "kind": kind}
    theirs = measures(cosine, kind, num_classes)
    for key, values in measures(outcomes, kind, num_classes).items():
        difference = values - theirs[key]
        low, high = difference[1:].quantile(torch.tensor([0.025, 0.975])).tolist()
        row[key] = round(float(values[0]), 2)
        row[f"{key}_minus_cosine"] = [round(float(difference[0]), 2), round(low, 2), round(high, 2)]
    both = list(zip(outcomes, cosine, strict=True))
    differing = sum(int((ours.labels != plain.labels).sum()) for ours, plain in both)
    row["differing_percent"] = round(100 * differing / sum(len(each.labels) for each in outcomes), 1)
    row["num_regions"] = sum(len(each.labels) for each in outcomes)
    return row


def rows_of(
    photographs: Photographs, scratch: Path, extra: dict[str, dict[str, Any]], *, nested: bool
) -> list[dict[str, Any]]:
    """Measure everything on one set of photographs."""
    fold = folds_of(len(photographs.true), NUM_FOLDS)
    rows = []
    for kind in ("true", "proposed"):
        measure = partial(named, photographs, kind, fold, scratch)
        cosine = measure(COSINE)
        jobs: dict[str, Sequence[Outcome]] = {
            "chance: the most frequent class": named_by_chance(photographs, kind, fold),
            "colour and position": named_by_features(photographs, kind, fold, lambda r: r.look, scratch),
            "untrained encoder": named_by_features(photographs, kind, fold, lambda r: r.untrained, scratch),
            "mini's encoder": named_by_features(photographs, kind, fold, lambda r: r.mini, scratch),
            "nearest image": named_by_neighbours(photographs, kind, fold, "image"),
            "nearest patches, vote": named_by_neighbours(photographs, kind, fold, "patch"),
            "cosine": cosine,
        }
        for name, method in extra.items():
            jobs[name] = measure(method)
        picked = None
        if nested:
            jobs["rankings, chosen inside (nested)"], picked = named_nested(photographs, kind, fold, scratch)
        for name, outcomes in jobs.items():
            row = {
                "photographs": photographs.name,
                **row_of(name, outcomes, cosine, kind, photographs.num_classes),
            }
            if name.endswith("(nested)"):
                row["picked"] = picked
            rows.append(row)
            print(json.dumps({key: value for key, value in row.items() if key != "picked"}), flush=True)
    return rows


def grid_rows(photographs: Photographs, scratch: Path) -> list[dict[str, Any]]:
    """Score the whole grid on photographs that choose the defaults and are not scored elsewhere."""
    fold = folds_of(len(photographs.true), NUM_FOLDS)
    rows = []
    for method in [COSINE, *GRID]:
        rows.append({"method": method})
        for kind in ("true", "proposed"):
            value = score_of(named(photographs, kind, fold, scratch, method), kind)
            rows[-1][kind] = round(100 * value, 2)
        print(json.dumps(rows[-1]), flush=True)
    return rows


def drawn_rows(
    photographs: Photographs,
    drawn: dict[int, Tensor],
    scratch: Path,
    extra: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Measure with cut-out drawings as references: names only, no photograph."""
    features = torch.cat(list(drawn.values()))
    classes = torch.repeat_interleave(
        torch.tensor(list(drawn)), torch.tensor([len(each) for each in drawn.values()])
    )
    bank = make_bank(features, classes, scratch / "drawn.bank")
    rows = []
    for kind in ("true", "proposed"):
        every = getattr(photographs, kind)
        cosine: list[Outcome] = []
        for name, method in {"cosine": COSINE, **extra}.items():
            say = by_bank(bank, RIMSettings(**method))
            outcomes = [Outcome(labels=say(each.features), pixels=each.pixels) for each in every]
            cosine = cosine or outcomes
            row = row_of(f"drawn references, {name}", outcomes, cosine, kind, photographs.num_classes)
            rows.append({"photographs": photographs.name, **row})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def unknown_rows(photographs: Photographs, scratch: Path, share: float) -> list[dict[str, Any]]:
    """Hide a third of the classes from the banks and ask which regions are called unknown."""
    fold = folds_of(len(photographs.true), NUM_FOLDS)
    random = np.random.default_rng(0)
    hidden = torch.from_numpy(random.permutation(photographs.num_classes)[: photographs.num_classes // 3])
    rows = []
    for kind in ("true", "proposed"):
        near, strange, below = [], [], []
        for number in sorted(set(fold)):
            kept = [index for index, each in enumerate(fold) if each != number]
            features = torch.cat([photographs.true[index].features for index in kept])
            classes = torch.cat([class_of(photographs.true[index]) for index in kept])
            shown = ~torch.isin(classes, hidden)
            bank = make_bank(features[shown], classes[shown], scratch / "hidden.bank")
            known = torch.tensor([int(name) for name in bank.names])
            for index, each in enumerate(fold):
                if each == number:
                    regions = getattr(photographs, kind)[index]
                    score = (regions.features @ normalize(bank.references, dim=-1).T).amax(1)
                    near.append(score)
                    below.append(score < bank.nearness_quantile(share))
                    strange.append(~torch.isin(class_of(regions), known))
        score, is_strange, is_below = torch.cat(near), torch.cat(strange), torch.cat(below)
        higher = (score[~is_strange][:, None] > score[is_strange][None]).float().mean()
        rows.append(
            {
                "photographs": photographs.name,
                "regions": kind,
                "num_regions": len(score),
                "of_unseen_classes_percent": round(100 * float(is_strange.float().mean()), 1),
                "called_unknown_of_unseen_percent": round(
                    100 * float(is_below[is_strange].float().mean()), 1
                ),
                "called_unknown_of_seen_percent": round(100 * float(is_below[~is_strange].float().mean()), 1),
                "auroc": round(float(higher), 3),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def untrained_like(encoder: Dinov2ImageEncoder) -> Dinov2ImageEncoder:
    """Return the same network with random weights; it is loaded once more and drawn over."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
            elif "lambda" in name or "scale" in name.lower():
                parameter.fill_(1.0)
    return encoder


def load_encoders() -> Encoders:
    """Load DINOv2-small, the floors and the proposer, which sees DINOv2's tokens."""
    folder = resolve_checkpoint("dinov2-small")
    dinov2 = OnceAnImage(load_dinov2(folder))
    return Encoders(
        dinov2=dinov2,
        untrained=untrained_like(load_dinov2(folder)).requires_grad_(False),
        mini=load_efficientnet_lite0(),
        proposer=RegionProposer(dinov2, replace(DINOV2_REGIONS, short_side=SHORT_SIDE)),
    )


def read_photographs(
    name: str, folders: Sequence[str], most: int, data: Path, cache: Path, encoders: Encoders
) -> Photographs:
    """Compute or read the regions of up to so many photographs of each folder, evenly spread."""
    true, proposed = [], []
    for folder in folders:
        dataset = FolderDataset(data / folder, labels="only")
        step = max(1, len(dataset) // most)
        samples = [partial(dataset.__getitem__, index) for index in range(0, len(dataset), step)[:most]]
        for pair in kept_regions(cache, folder, samples, encoders, len(dataset.vocabulary)):
            true.append(pair[0])
            proposed.append(pair[1])
    return Photographs(name, len(dataset.vocabulary), true, proposed)


def read_drawn(data: Path, names: Sequence[str], encoder: ImageEncoder, cache: Path) -> dict[int, Tensor]:
    """Compute or read the features of cut-out drawings of each name, six at most."""
    path = cache / "drawn.safetensors"
    if not path.is_file():
        source = CutoutSource(data / "emoji")
        found = {}
        for label, name in enumerate(names):
            drawn = [each for each in source.draw(name, 6) if isinstance(each, ReferenceImage)]
            if drawn:
                found[str(label)] = torch.stack([pool_image(each, encoder, FLOOR_SIDE)[0] for each in drawn])
        save_file(found, path)
    return {int(label): rows for label, rows in sorted(load_file(path).items(), key=lambda row: int(row[0]))}


def main() -> None:
    """Measure all blocks, print and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="holds the folders of photographs"
    )
    parser.add_argument("--cache", type=Path, required=True, help="where features of regions are kept")
    parser.add_argument("--nested", action="store_true", help="also choose settings inside the other folds")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)

    encoders = load_encoders()
    read = partial(read_photographs, data=arguments.data, cache=arguments.cache, encoders=encoders)
    chooser = read("coco-things-free", ["coco-things-free"], 53)
    coco = read("coco-free, coco-free-2", ["coco-free", "coco-free-2"], 27)
    clothing = read("clothing", ["clothing"], 50)
    names = FolderDataset(arguments.data / "coco-free").vocabulary.names
    drawn = read_drawn(arguments.data, names, encoders.dinov2.encoder, arguments.cache)
    default = {
        entry: getattr(RIMSettings(), entry)
        for entry in ("standardise", "temperature", "ranking", "divergence", "own_score")
    }
    ways: dict[str, dict[str, Any]] = {
        f"{how}, temperature {temperature:g}": {"standardise": how, "temperature": float(temperature)}
        for how, temperatures in (("candidates", (0.1, 0.3, 1)), ("bank", (0.1, 1)), ("none", (0.1,)))
        for temperature in temperatures
    }
    here = {"standardise": "candidates", "temperature": 0.1}
    ways["candidates, temperature 0.1, top-one"] = {**here, "ranking": "top_one"}
    ways["candidates, temperature 0.1, leave-one-out profiles"] = {**here, "own_score": "leave_one_out"}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        rows = rows_of(coco, scratch, ways, nested=arguments.nested)
        rows += rows_of(clothing, scratch, ways, nested=arguments.nested)
        rows += drawn_rows(coco, drawn, scratch, ways)
        grid = grid_rows(chooser, scratch)
        unknown = [*unknown_rows(coco, scratch, 0.05), *unknown_rows(clothing, scratch, 0.05)]
    record = {
        "command": "python benchmarks/accuracy/rim_matching.py --data ../shared/data --cache FOLDER",
        "machine": {**machine(), **versions(["torch"])},
        "seed": 0,
        "bootstrap": NUM_BOOTSTRAP,
        "photographs": {each.name: len(each.true) for each in (chooser, coco, clothing)},
        "defaults": default,
        "chosen_on": {"photographs": chooser.name, "grid": grid},
        "rows": rows,
        "unknown": unknown,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
