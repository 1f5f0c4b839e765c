"""What frozen features know of clothes: ridge regression from an encoder's patches to garments, closed form.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/accuracy/frozen_features.py --data ../shared/data/clothing

Of the 400 photographs with masks, 220 are drawn once; per seed, 120 of them train and the other 100 are scored.
Every photograph is encoded once (``CachedEncoder``), whole, at one size. A patch's target is the share of its pixels that each
class has; its scores are resized to the photograph and the highest wins. The ridge penalty is chosen within the 120 (the
last 30 of them judge), then all 120 are fitted. Nothing is chosen on the scored photographs.

Floors: the same network with random weights; mean colour, its spread and place of each patch; "null" everywhere.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, one_hot

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.core.row_rle import encode_runs
from lexiseg.data.folder import FolderDataset
from lexiseg.data.published.clothing import CLOTHING_NAMES
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.inference.feature_cache import CachedEncoder
from lexiseg.metrics.bootstrap import intervals, paired_intervals
from lexiseg.metrics.image_counts import ImageCounts, ImageMargins, count_runs
from lexiseg.metrics.iou import iou_of_pixels
from lexiseg.models.checkpoint import fingerprint, transformers_class
from lexiseg.models.dinov2 import Dinov2ImageEncoder, load_dinov2
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.pixel_normalisation import load_normalisation
from lexiseg.ops.resize import resize_argmax

SEEDS = (0, 1, 2)
NUM_TRAINED, NUM_JUDGING, NUM_SCORED = 120, 30, 100
SHORT_SIDE = 336
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
SHOWN = ("dress", "shoes", "jeans")


class ColourAndPlace(ImageEncoder):
    """Mean and spread of a patch's colours, and where it is: what needs no network."""

    stride = 14

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Give 17 numbers a patch: colour, its products, spread, and place up to the second power."""
        mean = avg_pool2d(images, self.stride)
        spread = (avg_pool2d(images.square(), self.stride) - mean.square()).clamp(min=0).sqrt()
        height, width = mean.shape[2:]
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        place = torch.stack([y, x, y * y, x * x, x * y]).expand(len(images), 5, height, width)
        maps = torch.cat([mean, mean.square(), mean * mean.roll(1, 1), spread, place], dim=1)
        tokens = rearrange(maps, "b d h w -> b (h w) d")
        return PatchFeatures(tokens=tokens, grid=(height, width), stride=self.stride)


def untrained() -> ImageEncoder:
    """Build the same network with random weights, in half precision: a floor need not be exact."""
    folder = resolve_checkpoint("dinov2-small")
    torch.manual_seed(0)
    model = transformers_class("Dinov2Model")(transformers_class("Dinov2Config").from_pretrained(folder))
    return Dinov2ImageEncoder(model, load_normalisation(folder), precision="bfloat16").eval()


def shares(label_map: np.ndarray, grid: tuple[int, int], num_classes: int) -> Float[Tensor, "N K1"]:
    """Give the share of each patch's pixels that every class has, and void last."""
    labels = torch.from_numpy(label_map.astype(np.int64))
    labels[labels == IGNORE_INDEX] = num_classes
    maps = rearrange(one_hot(labels, num_classes + 1).float(), "h w k -> 1 k h w")
    return rearrange(interpolate(maps, size=grid, mode="area"), "1 k h w -> (h w) k")


class Encoded(Protocol):
    """Images that are encoded when asked for, with their labels; names of the classes."""

    names: tuple[str, ...]

    def encoded(self, index: int, encoder: ImageEncoder) -> PatchFeatures:
        """Encode one image, whole."""

    def label_map(self, index: int) -> np.ndarray:
        """Give the true labels."""


class Photographs:
    """The photographs with masks, encoded when asked for."""

    def __init__(self, folder: Path) -> None:
        self.data = FolderDataset(folder, labels="only")
        assert self.data.vocabulary.names == CLOTHING_NAMES
        self.names = CLOTHING_NAMES

    def __len__(self) -> int:
        return len(self.data)

    def encoded(self, index: int, encoder: ImageEncoder) -> PatchFeatures:
        """Encode one photograph, whole."""
        image: UInt8[np.ndarray, "H W 3"] = self.data[index].image
        size = fitted_size(
            image.shape[:2], short_side=SHORT_SIDE, max_long_side=3 * SHORT_SIDE, multiple_of=encoder.stride
        )
        with torch.inference_mode():
            return encoder(resize_image(image, size)[None])

    def label_map(self, index: int) -> np.ndarray:
        """Give the true labels."""
        label_map = self.data[index].label_map
        assert label_map is not None
        return label_map


class Moments:
    """Sums over patches that ridge regression needs; patches with more void than half are left out."""

    def __init__(self, photographs: Encoded, indices: Sequence[int], encoder: ImageEncoder) -> None:
        num_classes = len(photographs.names)
        self.inner, self.outer = 0.0, 0.0
        for index in indices:
            features = photographs.encoded(index, encoder)
            target = shares(photographs.label_map(index), features.grid, num_classes)
            known = target[:, -1] < 0.5
            rows = with_one(features)[known]
            self.inner = self.inner + rows.T @ rows
            self.outer = self.outer + rows.T @ target[known, :-1].double()

    def __add__(self, other: "Moments") -> "Moments":
        total = object.__new__(Moments)
        total.inner, total.outer = self.inner + other.inner, self.outer + other.outer
        return total

    def solve(self, penalty: float) -> Float[Tensor, "D1 K"]:
        """Give the weights; the penalty is on the scale of standardised features, and spares the constant."""
        count, sums = self.inner[-1, -1], self.inner[-1, :-1]
        variance = self.inner.diagonal()[:-1] / count - (sums / count).square()
        scale = torch.cat([variance.clamp(min=1e-12), variance.new_zeros(1)])
        return torch.linalg.solve(self.inner + penalty * torch.diag(scale), self.outer)


def with_one(features: PatchFeatures) -> Tensor:
    tokens = features.tokens[0].double()
    return torch.cat([tokens, tokens.new_ones(len(tokens), 1)], dim=1)


def score(
    photographs: Encoded, indices: Sequence[int], encoder: ImageEncoder, weights: Tensor
) -> ImageMargins:
    """Segment and count."""
    counts = []
    for index in indices:
        features, truth = photographs.encoded(index, encoder), photographs.label_map(index)
        maps = rearrange((with_one(features) @ weights).float(), "(h w) k -> k h w", h=features.grid[0])
        labels = resize_argmax(maps, truth.shape).labels
        counts.append(count_runs(encode_runs(truth), encode_runs(labels)))
    return ImageCounts.join(counts).margins(len(photographs.names))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clothing"))
    photographs = Photographs(parser.parse_args().data)
    names = photographs.names
    garments = [label for label, name in enumerate(names) if name not in ("null", "hair", "skin")]

    def numbers(pixels: np.ndarray) -> np.ndarray:
        """Give mean IoU over classes and over garments that occur, and the IoU of those shown."""
        iou = iou_of_pixels(*pixels)
        occurs = pixels[0] > 0
        of_garments = [label for label in garments if occurs[label]]
        return np.array(
            [iou[occurs].mean(), iou[of_garments].mean(), *(iou[names.index(name)] for name in SHOWN)]
        )

    encoders: dict[str, Callable[[], ImageEncoder]] = {
        "dinov2-small": lambda: load_dinov2(resolve_checkpoint("dinov2-small")),
        "colour and place": ColourAndPlace,
        "untrained dinov2-small, bfloat16": untrained,
        "efficientnet-lite0, logits at stride 16": lambda: load_efficientnet_lite0(stride=16),
    }
    pool = np.random.default_rng(0).permutation(len(photographs))[: NUM_TRAINED + NUM_SCORED]
    rows: list[dict[str, object]] = []
    differences: list[dict[str, object]] = []
    margins: dict[tuple[int, str], ImageMargins] = {}
    for name, build in encoders.items():
        encoder = build()
        cached = CachedEncoder(encoder, fingerprint=fingerprint(encoder, name))
        for seed in SEEDS:
            order = np.random.default_rng(seed).permutation(pool).tolist()
            trained, scored = order[:NUM_TRAINED], order[NUM_TRAINED:]
            for index in order:
                photographs.encoded(index, cached)
            start = time.perf_counter()
            part = Moments(photographs, trained[:-NUM_JUDGING], cached)
            judging = Moments(photographs, trained[-NUM_JUDGING:], cached)
            judged = [
                numbers(total(score(photographs, trained[-NUM_JUDGING:], cached, part.solve(p))))[0]
                for p in PENALTIES
            ]
            penalty = PENALTIES[int(np.argmax(judged))]
            found = score(photographs, scored, cached, (part + judging).solve(penalty))
            margins[seed, name] = found
            row = {"features": name, "seed": seed, "penalty": penalty}
            seconds = {"seconds from kept features": round(time.perf_counter() - start, 1)}
            rows.append(row | seconds | described(found, numbers))
            print(rows[-1], flush=True)
            if name == "dinov2-small":
                rows.append({"features": "null everywhere", "seed": seed, **listed(numbers(all_null(found)))})
            else:
                differences.append(
                    {"seed": seed, **compared(name, found, margins[seed, "dinov2-small"], numbers)}
                )
        content = {
            "command": "python benchmarks/accuracy/frozen_features.py --data ../shared/data/clothing",
            "photographs": {"trained": NUM_TRAINED, "scored": NUM_SCORED, "short side": SHORT_SIDE},
            "mean_iou": "over the classes that occur in the scored photographs; 95 % by bootstrap over photographs",
            "rows": rows,
            "dinov2-small minus another": differences,
        }
        Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def all_null(margins: ImageMargins) -> np.ndarray:
    """Give the counts of calling everything "null"."""
    true = total(margins)[0]
    pixels = np.stack([true, np.zeros_like(true), np.zeros_like(true)])
    pixels[1, 0], pixels[2, 0] = true.sum(), true[0]
    return pixels


def compared(
    name: str, other: ImageMargins, dinov2: ImageMargins, numbers: Callable[[np.ndarray], np.ndarray]
) -> dict[str, object]:
    """Give the difference on the same photographs with its interval."""
    ends = paired_intervals(other, dinov2, len(CLOTHING_NAMES), numbers)
    by = numbers(total(dinov2)) - numbers(total(other))
    return {
        "features": name,
        "mean_iou": round(float(by[0]), 4),
        "95 %": [round(float(ends.low[0]), 4), round(float(ends.high[0]), 4)],
    }


COLUMNS = ("mean_iou", "garments", *SHOWN)


def total(margins: ImageMargins, num_classes: int = len(CLOTHING_NAMES)) -> np.ndarray:
    """Sum the counts of all photographs."""
    pixels = np.zeros((3, num_classes), np.int64)
    np.add.at(pixels.T, margins.label, margins.amounts)
    return pixels


def described(margins: ImageMargins, numbers: Callable[[np.ndarray], np.ndarray]) -> dict[str, object]:
    ends = intervals(margins, len(CLOTHING_NAMES), numbers)
    found = listed(numbers(total(margins)))
    return found | {
        f"{name} 95 %": [round(float(low), 4), round(float(high), 4)]
        for name, low, high in zip(COLUMNS, ends.low, ends.high, strict=True)
    }


def listed(values: np.ndarray) -> dict[str, object]:
    return {name: round(float(value), 4) for name, value in zip(COLUMNS, values, strict=True)}


if __name__ == "__main__":
    main()
