"""Features of regions of photographs, computed once and kept on disk for ``rim_matching.py``.

An image becomes one file: for its true regions (all pixels of a class) and its proposed ones the mean
DINOv2 feature, a few of its patch tokens, the features of three floors, and how many pixels of each class it holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.batch import Sample
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder
from lexiseg.data.transforms import fitted_size, resize_image
from lexiseg.models.region_proposer import RegionProposer
from lexiseg.ops.region_pooling import pool_regions

#: Short side of what DINOv2 sees, for regions and for proposals; that of the floors is smaller.
SHORT_SIDE, FLOOR_SIDE = 392, 224
#: Patch tokens kept of a region, for nearest neighbours.
NUM_TOKENS = 24
#: Parts of an image below or above these shares are no region of truth.
SHARES = 0.01, 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """Regions of one image.

    Attributes:
        features: Unit mean of DINOv2's tokens.
        tokens: Unit tokens of patches inside; repeated where there are fewer.
        pixels: Pixels of each class.
        look: Colour and position: mean and deviation of RGB, centre, extent, area.
        untrained: Unit mean of the same network's tokens with random weights.
        mini: Unit mean of the tokens of mini's image encoder.
    """

    features: Float[Tensor, "Q D"]
    tokens: Float[Tensor, "Q T D"]
    pixels: Float[Tensor, "Q C"]
    look: Float[Tensor, "Q 11"]
    untrained: Float[Tensor, "Q D"]
    mini: Float[Tensor, "Q E"]


class OnceAnImage(ImageEncoder):
    """Encodes an image of one size once; the proposer then gets the same tokens."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder, self.stride = encoder, encoder.stride
        self.kept: PatchFeatures | None = None

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Return what is kept, whatever the image."""
        if self.kept is None:
            self.kept = self.encoder(images)
        return self.kept


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The networks, each with the short side it sees."""

    dinov2: OnceAnImage
    untrained: ImageEncoder
    mini: ImageEncoder
    proposer: RegionProposer


@torch.inference_mode()
def encode(image: UInt8[np.ndarray, "H W 3"], encoder: ImageEncoder, short_side: int) -> PatchFeatures:
    """Encode an image at a short side."""
    size = fitted_size(
        image.shape[:2], short_side=short_side, max_long_side=3 * short_side, multiple_of=encoder.stride
    )
    return encoder(resize_image(image, size)[None])


def look_of(image: UInt8[np.ndarray, "H W 3"], masks: Bool[np.ndarray, "Q H W"]) -> Float[Tensor, "Q 11"]:
    """Describe regions without any network."""
    height, width = image.shape[:2]
    rows = []
    for mask in masks:
        pixels = image[mask].astype(np.float32) / 255
        y, x = np.nonzero(mask)
        extent = [np.ptp(y) / height, np.ptp(x) / width, float(mask.mean()) ** 0.5]
        rows.append([*pixels.mean(0), *pixels.std(0), y.mean() / height, x.mean() / width, *extent])
    return torch.tensor(np.array(rows), dtype=torch.float32).reshape(-1, 11)


def tokens_of(
    tokens: Float[Tensor, "N D"], grid: tuple[int, int], masks: Bool[np.ndarray, "Q H W"]
) -> Float[Tensor, "Q T D"]:
    """Take patches whose centre is inside each region, evenly spread; its mean where there is none."""
    height, width = masks.shape[1:]
    y = ((np.arange(grid[0]) + 0.5) * height / grid[0]).astype(int)
    x = ((np.arange(grid[1]) + 0.5) * width / grid[1]).astype(int)
    inside = rearrange(torch.from_numpy(masks[:, y[:, None], x[None]]), "q h w -> q (h w)")
    means = pool_regions(tokens, grid, masks)
    out = []
    for member, mean in zip(inside, means, strict=True):
        found = tokens[member] if member.any() else mean[None]
        out.append(found[torch.linspace(0, len(found) - 1, NUM_TOKENS).long()])
    return normalize(torch.stack(out), dim=-1) if out else tokens.new_zeros(0, NUM_TOKENS, tokens.shape[1])


def describe(
    sample: Sample, masks: Bool[np.ndarray, "Q H W"], encoders: Encoders, num_classes: int
) -> Regions:
    """Compute all that is kept of an image's regions."""
    found = encode(sample.image, encoders.dinov2, SHORT_SIDE)
    floors = {
        "untrained": encode(sample.image, encoders.untrained, FLOOR_SIDE),
        "mini": encode(sample.image, encoders.mini, SHORT_SIDE),
    }
    pixels = np.zeros((len(masks), num_classes), np.float32)
    for row, mask in zip(pixels, masks, strict=True):
        labels = sample.label_map[mask]
        row += np.bincount(labels[labels != IGNORE_INDEX], minlength=num_classes)[:num_classes]
    pooled = {
        name: normalize(pool_regions(each.tokens[0], each.grid, masks), dim=-1)
        for name, each in floors.items()
    }
    return Regions(
        features=normalize(pool_regions(found.tokens[0], found.grid, masks), dim=-1),
        tokens=tokens_of(found.tokens[0], found.grid, masks),
        pixels=torch.from_numpy(pixels),
        look=look_of(sample.image, masks),
        **pooled,
    )


def true_masks(sample: Sample) -> Bool[np.ndarray, "Q H W"]:
    """Return the pixels of each class that is neither a speck nor everything."""
    labels = [label for label in np.unique(sample.label_map) if label != IGNORE_INDEX]
    masks = np.stack([sample.label_map == label for label in labels])
    shares = masks.mean((1, 2))
    return masks[(shares >= SHARES[0]) & (shares <= SHARES[1])]


def kept_regions(
    folder: Path, key: str, samples: Sequence[Callable[[], Sample]], encoders: Encoders, num_classes: int
) -> list[tuple[Regions, Regions]]:
    """Return true and proposed regions of images, from disk where they are there."""
    both = []
    for index, read in enumerate(samples):
        path = folder / f"{key}-{index:03}.safetensors"
        if not path.is_file():
            sample = read()
            encoders.dinov2.kept = None
            tensors = {}
            for kind in ("true", "proposed"):
                masks = (
                    true_masks(sample) if kind == "true" else encoders.proposer.propose(sample.image).masks
                )
                found = describe(sample, masks, encoders, num_classes)
                tensors |= {
                    f"{kind}.{each.name}": getattr(found, each.name).half()
                    if each.name != "pixels"
                    else found.pixels
                    for each in fields(Regions)
                }
            save_file({name: value.contiguous() for name, value in tensors.items()}, path)
            print(path.name, flush=True)
        loaded = load_file(path)
        both.append(
            tuple(
                Regions(**{each.name: loaded[f"{kind}.{each.name}"].float() for each in fields(Regions)})
                for kind in ("true", "proposed")
            )
        )
    return both  # type: ignore[return-value]
