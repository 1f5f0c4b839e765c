"""Measure ``rim`` on coco-free with mini's image encoder: emoji references, real references, a controlled space.

Run from the repository root::

    python benchmarks/accuracy/rim.py --data ../shared/data

It prints rows as they come and writes ``rim.json`` beside this file. Numbers are mmsegmentation's mean
IoU (classes neither present nor predicted are left out) and pixel accuracy, in percent, at the images' original size.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine, versions
from rim_variants import Remembered, TrueRegions, variants

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.interfaces import ImageEncoder, MaskProposer
from lexiseg.data.folder import FolderDataset
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.rim.references.bank import ReferenceBank, save_bank
from lexiseg.methods.rim.references.build import build_bank
from lexiseg.methods.rim.references.build_class import BuildSettings
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.methods.rim.references.own_folder import FolderSource
from lexiseg.methods.rim.references.profiles import inter_class_scores
from lexiseg.methods.rim.segmenter import RIM
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.models.checkpoint import fingerprint
from lexiseg.models.region_proposer import RegionProposer
from lexiseg.ops.ranking import standardise
from lexiseg.ops.region_matching import match_regions, reference_scores
from lexiseg.ops.salient_object import salient_object
from lexiseg.ops.spherical_kmeans import spherical_kmeans
from lexiseg.recipes.rim import load_reference_encoder
from lexiseg.runs.load import load

SEEDS = (0, 1, 2)
#: What this page was made with: standardised over all classes asked for, which are all of the bank.
BEFORE = {"standardise": "bank", "temperature": 0.1, "unknown": "off"}
#: A class's part of a photograph below this share is no reference of it.
MIN_SHARE = 0.01


@dataclass
class World:
    """What all rows share."""

    dataset: FolderDataset
    encoder: ImageEncoder
    facts: dict[str, str]
    proposer: Remembered
    truth: TrueRegions
    encoded: list[Any] = field(default_factory=list)


def make_rim(world: World, bank: ReferenceBank, method: dict[str, Any], proposer: MaskProposer) -> RIM:
    """Build the segmenter."""
    return RIM(
        bank,
        world.encoder,
        proposer,
        encoder_fingerprint=world.facts["fingerprint"],
        proposer_facts={},
        settings=InferenceSettings(short_side=448, max_long_side=1344, refine="none"),
        method=RIMSettings(**{"missing_words": "leave_out", **BEFORE, **method}),
    ).eval()


def count(
    world: World, model: Segmenter, names: Sequence[str], which: Sequence[int], confusion: ConfusionMatrix
) -> None:
    """Segment some photographs with some of the names; other classes of the truth count as misses."""
    full = world.dataset.vocabulary
    to_full = np.array([full.index(name) for name in names], np.uint16)
    for index in which:
        sample = world.dataset[index]
        image = world.encoded[index] if isinstance(model, RIM) else sample.image
        confusion.update(sample.label_map, to_full[model.segment(image, list(names)).label_map])


def summary(confusion: ConfusionMatrix) -> dict[str, float]:
    """Return the two numbers of a row."""
    scores = compute_scores(confusion)
    return {
        "mean_iou": round(100 * scores.mean_iou, 2),
        "pixel_accuracy": round(100 * scores.pixel_accuracy, 2),
    }


def thinned(bank: ReferenceBank, path: Path, images: int, subcategories: int) -> ReferenceBank:
    """Keep the first images of every class and cluster them again, without encoding anything."""
    classes = []
    for name in bank.names:
        whole = bank.read_class(name)
        features = whole.features[:images]
        found = spherical_kmeans(features, min(subcategories, len(features)))
        classes.append(
            replace(
                whole,
                features=features,
                clusters=found.assignment,
                references=found.centroids,
                origins=whole.origins[:images],
                thumbnails=whole.thumbnails[:images],
            )
        )
    save_bank(path, classes, encoder=bank.encoder)
    return ReferenceBank(path)


def export_references(dataset: FolderDataset, which: Sequence[int], folder: Path) -> list[str]:
    """Write each class's part of some photographs as the folder source wants it; return the classes."""
    names = dataset.vocabulary.names
    found: set[int] = set()
    for index in which:
        sample = dataset[index]
        for label in np.unique(sample.label_map):
            mask = sample.label_map == label
            if label == IGNORE_INDEX or not MIN_SHARE <= mask.mean() <= 0.95:
                continue
            home = folder / names[label]
            (home / "masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample.image).save(home / f"{index:03}.png", compress_level=1)
            Image.fromarray(mask.astype(np.uint8) * 255).save(home / "masks" / f"{index:03}.png")
            found.add(int(label))
    return [names[label] for label in sorted(found)]


def emoji_rows(world: World, data: Path, scratch: Path) -> list[dict[str, Any]]:
    """Measure with drawn references."""
    settings = BuildSettings(short_side=448)
    source = CutoutSource(data / "emoji")
    path = scratch / "emoji.bank"
    start = time.perf_counter()
    built = build_bank(
        world.dataset.vocabulary.names,
        source,
        world.encoder,
        path,
        encoder_facts=world.facts,
        settings=settings,
    )
    bank = ReferenceBank(path)
    print(f"emoji bank: {len(bank)} classes, {len(bank.origins)} images, {time.perf_counter() - start:.0f} s")
    everything = range(len(world.dataset))
    rows = []
    for variant in variants():
        used = thinned(bank, scratch / "thin.bank", variant.images, variant.subcategories)
        confusion = ConfusionMatrix(len(world.dataset.vocabulary))
        model = make_rim(world, used, variant.method, world.proposer)
        count(world, model, bank.names, everything, confusion)
        rows.append({"block": "emoji", "name": variant.name, **summary(confusion)})
        print(json.dumps(rows[-1]), flush=True)
    for name, method in {"rim": {}, "cosine only": {"ranking": "cosine"}}.items():
        confusion = ConfusionMatrix(len(world.dataset.vocabulary))
        count(world, make_rim(world, bank, method, world.truth), bank.names, everything, confusion)
        rows.append({"block": "emoji", "name": f"true regions, {name}", **summary(confusion)})
    confusion = ConfusionMatrix(len(world.dataset.vocabulary))
    count(
        world,
        load("mini", device="cpu", method_settings={"head": "none", "smooth": "none"}),
        bank.names,
        everything,
        confusion,
    )
    rows.append({"block": "emoji", "name": "mini, the same words", **summary(confusion)})
    confusion = ConfusionMatrix(len(world.dataset.vocabulary))
    count(
        world,
        load("mini", device="cpu", method_settings={"head": "none", "smooth": "none"}),
        world.dataset.vocabulary.names,
        everything,
        confusion,
    )
    rows.append({"block": "emoji", "name": "mini, all words", **summary(confusion)})
    for row in rows[-4:]:
        print(json.dumps(row), flush=True)
    assert len(built.rejected) + len(bank) == len(world.dataset.vocabulary)
    return rows


def real_rows(world: World, scratch: Path) -> list[dict[str, Any]]:
    """Measure with references from the masks of one half of the photographs, on the other, both ways."""
    settings = BuildSettings(short_side=448)
    mini = load("mini", device="cpu", method_settings={"head": "none", "smooth": "none"})
    counts: dict[str, list[ConfusionMatrix]] = {}
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(world.dataset)).tolist()
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        here: dict[str, ConfusionMatrix] = {}
        for side, (given, asked) in enumerate((halves, halves[::-1])):
            folder = scratch / f"real-{seed}-{side}"
            names = export_references(world.dataset, given, folder)
            source = FolderSource(folder, salient_object, found_by="given masks")
            path = scratch / f"real-{seed}-{side}.bank"
            build_bank(names, source, world.encoder, path, encoder_facts=world.facts, settings=settings)
            bank = ReferenceBank(path)
            jobs: dict[str, tuple[Segmenter, Sequence[str]]] = {}
            for index, variant in enumerate(variants()):
                thin = scratch / f"thin-{index}.bank"
                used = thinned(bank, thin, variant.images, variant.subcategories)
                jobs[variant.name] = make_rim(world, used, variant.method, world.proposer), names
            for name, method in {"rim": {}, "cosine only": {"ranking": "cosine"}}.items():
                jobs[f"true regions, {name}"] = make_rim(world, bank, method, world.truth), names
            jobs["mini, the same words"] = mini, names
            for name, (model, words) in jobs.items():
                confusion = here.setdefault(name, ConfusionMatrix(len(world.dataset.vocabulary)))
                count(world, model, words, asked, confusion)
        for name, confusion in here.items():
            counts.setdefault(name, []).append(confusion)
    rows = []
    for name, found in counts.items():
        numbers = [summary(confusion) for confusion in found]
        row: dict[str, Any] = {"block": "real", "name": name}
        for key in numbers[0]:
            row[key] = round(float(np.mean([each[key] for each in numbers])), 2)
            row[f"{key}_of_seeds"] = [each[key] for each in numbers]
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def proposal_bound(world: World) -> dict[str, Any]:
    """Return every proposed region its majority class of the truth: no naming can do better."""
    confusion = ConfusionMatrix(len(world.dataset.vocabulary))
    for sample in world.dataset:
        best = np.full(sample.label_map.shape, IGNORE_INDEX, np.uint16)
        for mask in world.proposer.propose(sample.image).masks:
            inside = sample.label_map[mask]
            inside = inside[inside != IGNORE_INDEX]
            best[mask] = np.bincount(inside).argmax() if len(inside) else IGNORE_INDEX
        confusion.update(sample.label_map, best)
    return {"block": "bound", "name": "proposed regions with their majority class", **summary(confusion)}


def controlled_rows() -> list[dict[str, Any]]:
    """Match in spaces we made: 24 classes, 10 images a class, 2,000 regions.

    A third of the classes are composite: parts shared with two plain classes, and a part of their own.

    * ``noise only``: regions look like the references, with noise.
    * ``own part lost``: regions of composite classes lack their own part, as the one thing that tells a
      class apart may be hidden or drawn differently; what they share with others is still there.
    * ``uneven look``: the references of every other class lean towards one common direction, as generated
      images share a look; regions do not.
    * ``own part lost, profiles shuffled``: a control. Profiles of wrong classes must not help.
    """
    worlds = {
        "noise only": {},
        "own part lost": {"lost": 1.0},
        "uneven look": {"lean": 1.2},
        "own part lost, profiles shuffled": {"lost": 1.0, "shuffled": True},
    }
    rows = []
    for scene, world in worlds.items():
        for ranking, temperature in (
            ("cosine", 1.0),
            ("top_one", 0.1),
            ("top_one", 1.0),
            ("plackett_luce", 0.1),
            ("plackett_luce", 1.0),
        ):
            found = [_controlled(seed, ranking, temperature, **world) for seed in SEEDS]
            at = "" if ranking == "cosine" else f", temperature {temperature}"
            rows.append(
                {
                    "block": "controlled",
                    "name": f"{scene}: {ranking}{at}",
                    "accuracy": round(float(np.mean(found)), 2),
                    "accuracy_of_seeds": found,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def _controlled(
    seed: int,
    ranking: Any,
    temperature: float,
    *,
    lost: float = 0.0,
    lean: float = 0.0,
    shuffled: bool = False,
) -> float:
    generator = torch.Generator().manual_seed(seed)
    groups, width, images, num_regions = 8, 64, 10, 2000
    num_classes = 3 * groups

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(*size, width, generator=generator) / width**0.5

    first, second, own = (normalize(noise(groups), dim=-1) for _ in range(3))
    full = torch.cat([first, second, first + second + 1.5 * own])
    met = torch.cat([first, second, first + second + 1.5 * (1 - lost) * own])
    look = lean * noise(1) * (torch.arange(num_classes) % 2)[:, None]
    shown = normalize((full + look)[:, None] + 0.6 * noise(num_classes, images), dim=-1)
    truth = torch.randint(num_classes, (num_regions,), generator=generator)
    regions = normalize(met[truth] + noise(num_regions), dim=-1)
    references = normalize(shown.sum(1, keepdim=True), dim=-1)
    same = torch.zeros(images, dtype=torch.int64)
    profiles = inter_class_scores([(shown[k], same, references[k]) for k in range(num_classes)])
    profiles.fill_diagonal_(1.0)  # as the default has it; left out, the numbers differ by less than one
    if shuffled:
        profiles = profiles[torch.randperm(num_classes, generator=generator)]
    matched = match_regions(
        standardise(reference_scores(regions, references)),
        standardise(profiles)[:, None],
        ranking=ranking,
        temperature=temperature,
    )
    return round(100 * float((matched.labels == truth).float().mean()), 2)


def main() -> None:
    """Measure all blocks, print and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds coco-free and emoji")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()

    rows = controlled_rows()
    dataset = FolderDataset(arguments.data / "coco-free")
    encoder, _ = load_reference_encoder("mini")
    facts = {"name": "mini", "fingerprint": fingerprint(encoder)}
    proposer = Remembered(RegionProposer(encoder))
    world = World(dataset, encoder, facts, proposer, TrueRegions(dataset))
    rows.append(proposal_bound(world))
    print(json.dumps(rows[-1]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source = CutoutSource(arguments.data / "emoji")
        first = scratch / "first.bank"
        build_bank(
            ["cat"], source, encoder, first, encoder_facts=facts, settings=BuildSettings(short_side=448)
        )
        model = make_rim(world, ReferenceBank(first), {}, proposer)
        world.encoded = [model.encode(sample.image) for sample in dataset]
        rows += emoji_rows(world, arguments.data, scratch)
        rows += real_rows(world, scratch)
    command = "python benchmarks/accuracy/rim.py --data ../shared/data"
    record = {
        "command": command,
        "machine": {**machine(), **versions(["torch"])},
        "seeds": SEEDS,
        "defaults": asdict(RIMSettings()),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
