"""Measure what the classical proposer's regions allow: the mean IoU of the best label for every region.

Run from the repository root::

    python benchmarks/accuracy/regions.py --data ../shared/data/coco-free

Every region gets the class that most of its labelled pixels have. It has no randomness. The defaults were
chosen on these photographs, so the table says why they are what they are, not how good they are elsewhere.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.folder import FolderDataset
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.region_proposer import RegionProposer, RegionSettings

DEFAULT = RegionSettings()
ROWS = {
    "default": DEFAULT,
    "colour alone, as many regions": replace(DEFAULT, feature_weight=0.0, max_distance=0.6),
    "superpixels, not merged": replace(DEFAULT, max_distance=0.0, min_share=0.0, max_regions=10_000),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/coco-free"))
    dataset = FolderDataset(parser.parse_args().data)
    samples = [sample for sample in dataset if sample.label_map is not None]
    encoder = load_efficientnet_lite0()
    rows = []
    for name, settings in ROWS.items():
        proposer = RegionProposer(encoder, settings)
        num_classes = IGNORE_INDEX + 1
        both, union = torch.zeros(num_classes), torch.zeros(num_classes)
        num_regions = 0
        for sample in samples:
            regions = torch.from_numpy(proposer.label_regions(sample.image)).flatten().long()
            labels = torch.from_numpy(sample.label_map.astype("int64")).flatten()
            num_regions += int(regions.max()) + 1
            known = labels != IGNORE_INDEX
            regions, labels = regions[known], labels[known]
            top = int(labels.max()) + 1
            counts = torch.zeros(int(regions.max()) + 1, top)
            counts.view(-1).index_add_(0, regions * top + labels, torch.ones(len(labels)))
            best = counts.argmax(1)
            hits = counts.gather(1, best[:, None])[:, 0]
            both.index_add_(0, best, hits)
            union[:top] += counts.sum(0)
            union.index_add_(0, best, counts.sum(1) - hits)
        seen = union > 0
        row = {
            "name": name,
            "regions a picture": round(num_regions / len(samples), 1),
            "best mean_iou": round(float((both[seen] / union[seen]).mean()), 3),
        }
        print(row)
        rows.append(row)
    content = {"command": "python benchmarks/accuracy/regions.py", "pictures": len(samples), "rows": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
