"""Which images to mask next: what lexiseg next chooses against images at random, from the same start.

    python benchmarks/accuracy/next_images.py --data ../shared/data

Of the photographs of coco-things-free, 42 are scored and never chosen from. Per seed, 20 of the others are drawn and have
masks; a head is fitted to them. Then 20 more get masks: those that ``lexiseg next`` chooses, or drawn at random (three
times). Both heads are scored on the same photographs. Mean IoU of the classes that occur, by patches; the interval of the
difference is the middle 95 % over seeds and draws of photographs. Writes next_images.json beside this file.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import machine  # noqa: E402

from lexiseg.data.folder import FolderDataset  # noqa: E402
from lexiseg.methods.frozen_head.fitting import fit_head  # noqa: E402
from lexiseg.methods.frozen_head.head import LinearHead  # noqa: E402
from lexiseg.methods.frozen_head.settings import FrozenHeadSettings  # noqa: E402
from lexiseg.recipes.frozen_head import default_backbone, num_alike, open_describer  # noqa: E402
from lexiseg.runs.next_images import choose_next  # noqa: E402
from lexiseg.runs.own_labels import Described, describe, evidence_of  # noqa: E402
from lexiseg.runs.quick_score import PatchTruth, drawn_mean_ious, draws_of_images, mean_iou  # noqa: E402

SEEDS, FIRST, MORE, RANDOM = range(6), 20, 20, 3


def main() -> None:
    """Choose, fit, score and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = FrozenHeadSettings(backbone=default_backbone())
    dataset = FolderDataset(given.data / "coco-things-free", labels="only")
    vocabulary = dataset.vocabulary
    describer = open_describer(settings, vocabulary)
    described = describe(dataset, describer, vocabulary, settings)
    order = np.random.default_rng(0).permutation(len(described)).tolist()
    num_scored = len(order) // 3
    scored, pool = order[:num_scored], order[num_scored:]
    truth = PatchTruth([described[place] for place in scored], len(vocabulary))

    def fitted(images: list[Described]) -> LinearHead:
        evidence = [evidence_of(image, vocabulary, ("masks",)) for image in images]
        return fit_head(evidence, len(vocabulary), settings, num_alike=num_alike(describer))

    rows, differences = [], []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        drawn = rng.permutation(pool).tolist()
        first, rest = [described[place] for place in drawn[:FIRST]], drawn[FIRST:]
        head = fitted(first)
        candidates = [described[place] for place in rest]
        chosen = [candidates[choice.place] for choice in choose_next(candidates, first, head, MORE)]
        by_next = truth.count(fitted([*first, *chosen]))
        at_random = [
            truth.count(fitted([*first, *(described[place] for place in rng.permutation(rest)[:MORE])]))
            for _ in range(RANDOM)
        ]
        resampled = draws_of_images(num_scored, seed)
        differences += [
            drawn_mean_ious(by_next, resampled) - drawn_mean_ious(counts, resampled) for counts in at_random
        ]
        rows.append(
            {
                "seed": seed,
                "first": round(mean_iou(truth.count(head).sum(0)), 4),
                "next": round(mean_iou(by_next.sum(0)), 4),
                "random": [round(mean_iou(counts.sum(0)), 4) for counts in at_random],
            }
        )
        print(rows[-1], flush=True)
    low, high = np.quantile(np.concatenate(differences), (0.025, 0.975))
    by_seed = [row["next"] - float(np.mean(row["random"])) for row in rows]
    content = {
        "command": "python benchmarks/accuracy/next_images.py --data ../shared/data",
        "backbone": settings.backbone,
        "images": {"scored": num_scored, "first": FIRST, "more": MORE, "candidates": len(pool) - FIRST},
        "rows": rows,
        "next minus random": {
            "mean": round(float(np.mean(by_seed)), 4),
            "of_each_seed": [round(value, 4) for value in by_seed],
            "interval": [round(float(low), 4), round(float(high), 4)],
        },
        **machine(),
    }
    (HERE / "next_images.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["next minus random"]))


if __name__ == "__main__":
    main()
