"""Measure what a proposer's regions allow: the mean IoU of the best label for every region.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/accuracy/regions.py --data ../shared/data/coco-free --held-out ../shared/data/coco-free-2

Every region gets the class that most of its labelled pixels have. "best region" is the mean over the classes of all
images of the IoU of the one region that fits best. Both defaults were chosen on the first folder, nothing on the second.
Rows at 46 and at 24 merge until so many regions are left, which compares features at equal numbers. It has no
randomness.

Normalised cuts (Shi and Malik, TPAMI 2000): the leading eigenvectors of the normalised affinity exp((cos − 1)/0.1)
between DINOv2's tokens take the tokens' place. Saliency is one more number beside the tokens.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.data.folder import FolderDataset
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.models import region_proposer
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.region_proposer import DINOV2_REGIONS, RegionProposer, RegionSettings
from lexiseg.models.saliency import SaliencyDecoder, load_saliency_decoder

DEFAULT = RegionSettings()
NUM_VECTORS, TEMPERATURE = 16, 0.1
SALIENCY_LENGTH = 1.0


class NormalisedCuts(ImageEncoder):
    """Eigenvectors of the affinities between an encoder's tokens, in place of the tokens."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder, self.stride = encoder, encoder.stride

    def forward(self, images: Float[Tensor, "1 3 H W"]) -> PatchFeatures:
        """Give each token its place in the space of the leading eigenvectors, scaled by their eigenvalues."""
        features = self.encoder(images)
        tokens = normalize(features.tokens[0], dim=1)
        affinity = torch.exp((tokens @ tokens.T - 1) / TEMPERATURE)
        degree = affinity.sum(1).sqrt()
        values, vectors = eigsh(
            (affinity / degree / degree[:, None]).double().numpy(),
            NUM_VECTORS + 1,
            v0=degree.double().numpy(),
        )
        order = np.argsort(-values)[1:]  # the first is constant
        scaled = torch.from_numpy(vectors[:, order] * np.sqrt(values[order].clip(min=0))).float()
        scaled = scaled / degree[:, None] * degree.mean()
        return replace(features, tokens=scaled[None], global_token=None)


class WithSaliency(ImageEncoder):
    """An encoder's unit tokens and one number more: how much a patch stands out."""

    def __init__(self, encoder: ImageEncoder, decoder: SaliencyDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder, self.stride = encoder, decoder, encoder.stride

    def forward(self, images: Float[Tensor, "1 3 H W"]) -> PatchFeatures:
        """Add the mean saliency of each patch."""
        features = self.encoder(images)
        saliency = avg_pool2d(self.decoder(features), 8)
        tokens = normalize(features.tokens, dim=2)
        more = SALIENCY_LENGTH * rearrange(saliency, "1 h w -> 1 (h w) 1")
        return replace(features, tokens=torch.cat([tokens, more], dim=2), global_token=None)


def measure(proposer: RegionProposer, samples: Sequence[Sample]) -> dict[str, Any]:
    """Count regions and what they allow."""
    num_classes = IGNORE_INDEX + 1
    both, union = torch.zeros(num_classes), torch.zeros(num_classes)
    num_regions, best_regions = 0, []
    for sample in samples:
        assert sample.label_map is not None
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
        single = counts / (counts.sum(0) + counts.sum(1, keepdim=True) - counts).clamp(min=1)
        best_regions += single.max(0).values[counts.sum(0) > 0].tolist()
    seen = union > 0
    return {
        "regions an image": round(num_regions / len(samples), 1),
        "best mean_iou": round(float((both[seen] / union[seen]).mean()), 3),
        "best region": round(float(np.mean(best_regions)), 3),
    }


def share_superpixels() -> None:
    """Make superpixels once an image: they are the same for all rows."""
    kept: dict[str, Any] = {}
    make = region_proposer._superpixels

    def remembered(image: np.ndarray, settings: RegionSettings) -> Any:
        key = hashlib.sha256(np.ascontiguousarray(image)).hexdigest()
        if key not in kept:
            kept[key] = make(image, settings)
        return kept[key]

    region_proposer._superpixels = remembered


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/coco-free"))
    parser.add_argument("--held-out", type=Path, default=Path("../shared/data/coco-free-2"))
    arguments = parser.parse_args()
    share_superpixels()
    folder = resolve_checkpoint("dinov2-small")
    network = load_dinov2(folder)
    mini, dinov2 = load_efficientnet_lite0(), CachedEncoder(network, fingerprint=network.fingerprint)
    cuts, salient = NormalisedCuts(dinov2), WithSaliency(dinov2, load_saliency_decoder(folder))
    at_46, at_24 = ({"max_distance": 0.0, "max_regions": number} for number in (46, 24))
    rows: dict[str, tuple[ImageEncoder | None, RegionSettings]] = {
        "dinov2-small": (dinov2, DINOV2_REGIONS),
        "default": (mini, DEFAULT),
        "dinov2-small, 46": (dinov2, replace(DINOV2_REGIONS, **at_46)),
        "normalised cuts, 46": (cuts, replace(DINOV2_REGIONS, **at_46)),
        "dinov2-small and saliency, 46": (salient, replace(DINOV2_REGIONS, **at_46)),
        "mini, 46": (mini, replace(DEFAULT, **at_46)),
        "dinov2-small, 24": (dinov2, replace(DINOV2_REGIONS, **at_24)),
        "normalised cuts, 24": (cuts, replace(DINOV2_REGIONS, **at_24)),
        "dinov2-small and saliency, 24": (salient, replace(DINOV2_REGIONS, **at_24)),
        "mini, 24": (mini, replace(DEFAULT, **at_24)),
        "colour alone, as many regions": (None, replace(DEFAULT, feature_weight=0.0, max_distance=0.6)),
        "superpixels, not merged": (
            None,
            replace(DEFAULT, max_distance=0.0, min_share=0.0, max_regions=10_000),
        ),
    }
    folders = {"chosen on": arguments.data, "held out": arguments.held_out}
    images = {
        name: [sample for sample in FolderDataset(path) if sample.label_map is not None]
        for name, path in folders.items()
    }
    measured = []
    for name, (encoder, settings) in rows.items():
        row: dict[str, Any] = {"name": name}
        for part, samples in images.items():
            row[part] = measure(RegionProposer(encoder, settings), samples)
        print(row, flush=True)
        measured.append(row)
        content = {
            "command": "python benchmarks/accuracy/regions.py",
            "images": {name: len(samples) for name, samples in images.items()},
            "rows": measured,
        }
        Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
