"""Does comparing rankings help? Scenes in a feature space where everything that can go wrong is known.

Every class is a direction; its reference images and the regions of a scene scatter around it. The worlds
differ in one thing each. Regions are perfect and features are drawn, so only matching is measured: mean IoU
over the label maps of 20 scenes of 12 regions, five seeds, the same scenes for all ways of matching.
"""

import datetime
import itertools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.methods.rim.references.profiles import inter_class_scores
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.ops.painting import paint_regions
from lexiseg.ops.ranking import standardise
from lexiseg.ops.region_matching import match_regions, reference_scores
from lexiseg.ops.region_pooling import pool_regions
from lexiseg.ops.spherical_kmeans import spherical_kmeans

SEEDS = range(5)
WIDTH, GRID, SIDE = 64, (24, 24), 48
NUM_IMAGES, NUM_SUBCATEGORIES = 50, 5
NUM_SCENES, NUM_REGIONS = 20, 12
NUM_ATTRIBUTES = 12
IMAGE_SCATTER, REGION_SCATTERS = 1.0, (1.0, 1.5)  # length of what is random; a class itself has length 1

KINDS = {
    "apart": "classes share almost nothing; regions scatter as images do",
    "alike": "classes share attributes; regions scatter as images do",
    "half the detail": "regions show half of what is a class's own: generated images are richer",
    "no detail": "regions show only the attributes",
    "company": "images of a class contain another one, always the same (a boat comes with water)",
    "gap": "all regions lie apart from all images in one direction",
    "uneven": "images of every second class scatter six times as much, those of the others a third",
    "uneven, own entry only": "the same with profiles whose entries for other classes are shuffled",
    "two classes": "alike, but only two of them",
    "own entry only": "no detail, and profiles whose entries for other classes are shuffled: a control",
}

WAYS: dict[str, dict[str, Any]] = {
    "cosine": {"ranking": "cosine"},
    "top one of 5, 0.1": {"ranking": "top_one"},
    "top one of all, 0.1": {"ranking": "top_one", "num_candidates": None},
    "rankings, 0.1": {},
    "rankings, 0.1, Jensen-Shannon": {"kind": "jensen_shannon"},
    "rankings, 1": {"temperature": 1.0},
    "standardised: top one of all, 1": {
        "standard": True,
        "ranking": "top_one",
        "num_candidates": None,
        "temperature": 1.0,
    },
    "standardised: rankings, 0.1": {"standard": True},
    "standardised: rankings, 1": {"standard": True, "temperature": 1.0},
    "standardised: rankings, 1, Jensen-Shannon": {
        "standard": True,
        "temperature": 1.0,
        "kind": "jensen_shannon",
    },
}


class World:
    """Class directions, and how images and regions of a class are drawn.

    A class is a mixture of attributes that classes share (fur, wheels, water) and of something of its own.
    How much is its own differs from class to class. ``KINDS`` says what each world does with that.
    """

    def __init__(self, kind: str, seed: int, region_scatter: float) -> None:
        self.kind, self.region_scatter = kind, region_scatter
        self.draw = torch.Generator().manual_seed(seed)
        self.num_classes = 2 if kind == "two classes" else 20
        basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=self.draw)).Q
        mixture = torch.rand(self.num_classes, NUM_ATTRIBUTES, generator=self.draw) ** 3
        self.shared = normalize(mixture @ basis[:NUM_ATTRIBUTES], dim=-1)
        self.own = basis[NUM_ATTRIBUTES : NUM_ATTRIBUTES + self.num_classes]
        share = 0.3 + 0.6 * torch.rand(self.num_classes, 1, generator=self.draw)
        if kind == "apart":
            share = torch.full_like(share, 0.05)
        self.weight_shared, self.weight_own = share.sqrt(), (1 - share).sqrt()
        self.company = torch.randperm(self.num_classes, generator=self.draw)
        self.apart = normalize(torch.randn(WIDTH, generator=self.draw), dim=0)

    def _centre(self, label: int, detail: float = 1.0) -> Float[Tensor, " D"]:
        return (
            self.weight_shared[label] * self.shared[label] + detail * self.weight_own[label] * self.own[label]
        )

    def _scatter(self, num: int, length: float) -> Float[Tensor, "num D"]:
        return length * torch.randn(num, WIDTH, generator=self.draw) / WIDTH**0.5

    def images(self, label: int) -> Float[Tensor, "P D"]:
        """Draw reference images of a class."""
        centre = self._centre(label)
        if self.kind == "company":
            centre = centre + 0.6 * self._centre(int(self.company[label]))
        length = IMAGE_SCATTER
        if self.kind in ("uneven", "uneven, own entry only"):
            length *= 0.3 if label % 2 else 6.0
        return normalize(centre + self._scatter(NUM_IMAGES, length), dim=-1)

    def region(self, label: int) -> Float[Tensor, " D"]:
        """Draw the feature of a region of a class."""
        detail = {"half the detail": 0.5, "no detail": 0.0, "own entry only": 0.0}.get(self.kind, 1.0)
        feature = self._centre(label, detail) + self._scatter(1, self.region_scatter)[0]
        return feature + self.apart if self.kind == "gap" else feature


def match_world(world: World, ways: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return mean IoU over the scenes of a world for each way of matching."""
    parts = []
    for label in range(world.num_classes):
        images = world.images(label)
        clusters = spherical_kmeans(images, NUM_SUBCATEGORIES)
        parts.append((images, clusters.assignment, clusters.centroids))
    references = torch.stack([part[2] for part in parts])
    profiles = inter_class_scores(parts).reshape(world.num_classes, NUM_SUBCATEGORIES, world.num_classes)
    if world.kind.endswith("own entry only"):
        profiles = shuffle_others(profiles, world.draw)
    counts = {name: ConfusionMatrix(world.num_classes) for name in ways}
    for _ in range(NUM_SCENES):
        truth, regions, tokens = draw_scene(world)
        scores = reference_scores(pool_regions(tokens, GRID, regions), references)
        for name, way in ways.items():
            way = dict(way)
            scale: Callable[[Tensor], Tensor] = standardise if way.pop("standard", False) else lambda x: x
            labels = match_regions(scale(scores), scale(profiles), **way).labels.numpy()
            counts[name].update(truth, labels[paint_regions(regions)].astype(np.uint16))
    return {name: compute_scores(matrix).mean_iou for name, matrix in counts.items()}


def shuffle_others(profiles: Float[Tensor, "K R K"], draw: torch.Generator) -> Float[Tensor, "K R K"]:
    """Keep what each class scores for itself and give the rest another order, of equal spread."""
    shuffled = profiles.clone()
    for label in range(len(profiles)):
        others = torch.tensor([other for other in range(len(profiles)) if other != label])
        moved = others[torch.randperm(len(others), generator=draw)]
        shuffled[label][:, others] = profiles[label][:, moved]
    return shuffled


def draw_scene(world: World) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Cut a square into nearest-point regions, each of a class; give truth, masks and tokens."""
    points = torch.rand(NUM_REGIONS, 2, generator=world.draw).numpy()
    place = (np.stack(np.mgrid[:SIDE, :SIDE], -1) + 0.5) / SIDE
    owner = ((place[:, :, None] - points) ** 2).sum(-1).argmin(-1)
    labels = torch.randint(world.num_classes, (NUM_REGIONS,), generator=world.draw)
    features = torch.stack([world.region(int(label)) for label in labels])
    at_patches = owner[SIDE // GRID[0] // 2 :: SIDE // GRID[0], SIDE // GRID[1] // 2 :: SIDE // GRID[1]]
    tokens = features[torch.from_numpy(at_patches).flatten()]
    tokens = tokens + 0.5 * torch.randn(tokens.shape, generator=world.draw) / WIDTH**0.5
    return labels.numpy()[owner].astype(np.uint16), owner == np.arange(NUM_REGIONS)[:, None, None], tokens


def main() -> None:
    rows: list[dict[str, Any]] = []
    print(f"| world | scatter | {' | '.join(WAYS)} |")
    for kind, scatter in itertools.product(KINDS, REGION_SCATTERS):
        runs = [match_world(World(kind, seed, scatter), WAYS) for seed in SEEDS]
        for name in WAYS:
            values = [100 * run[name] for run in runs]
            gains = [100 * (run[name] - run["cosine"]) for run in runs]
            row = {
                "world": kind,
                "region_scatter": scatter,
                "way": name,
                "mean_iou": round(statistics.mean(values), 1),
                "gain": round(statistics.mean(gains), 1),
                "gain_sd": round(statistics.stdev(gains), 1),
                "seeds_better": sum(gain > 0 for gain in gains),
                "per_seed": [round(value, 2) for value in values],
            }
            rows.append(row)
        shown = rows[-len(WAYS) :]
        cells = [
            f"{shown[0]['mean_iou']:.1f}",
            *(f"{r['gain']:+.1f} ± {r['gain_sd']:.1f}" for r in shown[1:]),
        ]
        print(f"| {kind} | {scatter} | {' | '.join(cells)} |", flush=True)
    content = {
        "command": "python benchmarks/accuracy/rim_relations.py",
        "date": datetime.date.today().isoformat(),
        "settings": {
            "seeds": list(SEEDS),
            "width": WIDTH,
            "attributes": NUM_ATTRIBUTES,
            "image_scatter": IMAGE_SCATTER,
            "region_scatters": REGION_SCATTERS,
            "worlds": KINDS,
            "images": NUM_IMAGES,
            "subcategories": NUM_SUBCATEGORIES,
            "scenes": NUM_SCENES,
            "regions": NUM_REGIONS,
        },
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
