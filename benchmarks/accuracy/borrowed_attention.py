"""Draw what one patch attends to, from the features of ``dinov2-small``: ProxyCLIP (as in Trident's windows), CorrCLIP.

Run from the repository root (``lexiseg models --get dinov2-small`` first)::

    python benchmarks/accuracy/borrowed_attention.py IMAGE --out docs/assets/borrowed-attention.jpg

One row a point: the image with the point, ProxyCLIP's attention, the regions of the classical proposer, CorrCLIP's
attention inside them. No CLIP weights are needed, and none are used: it shows what values would be mixed, not labels.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate, normalize

from lexiseg.data.images import load_image
from lexiseg.data.transforms import resize_image
from lexiseg.models.dinov2 import load_dinov2
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.region_proposer import DINOV2_REGIONS, RegionProposer
from lexiseg.ops.proxy_attention import proxy_attention
from lexiseg.ops.region_scope import merge_alike, paint_regions, scope_attention

GRID = (24, 32)
POINTS = ((0.35, 0.35), (0.6, 0.6), (0.15, 0.8))


def shade(image: np.ndarray, weights: torch.Tensor) -> np.ndarray:
    """Lay one row of attention over an image, brightest where it is largest."""
    maps = interpolate(weights.reshape(1, 1, *GRID), size=image.shape[:2], mode="nearest")[0, 0]
    strength = (maps / maps.max()).sqrt().numpy()[..., None]
    return (image * (0.25 + 0.75 * strength)).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    encoder = load_dinov2(resolve_checkpoint("dinov2-small"))
    size = (GRID[0] * 14, GRID[1] * 14)
    pixels = resize_image(load_image(arguments.image), size)[None]
    image = (pixels[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    with torch.inference_mode():
        features = normalize(encoder(pixels).tokens, dim=2)
        proxy = proxy_attention(features)[0]
        painted = paint_regions(RegionProposer(encoder, DINOV2_REGIONS).propose(image).masks)
        rows = ((np.arange(count) + 0.5) * 14 for count in GRID)
        on_patches = torch.from_numpy(painted[np.ix_(*(row.astype(int) for row in rows))].reshape(-1))
        merged = merge_alike(on_patches, features[0])
        scope = scope_attention(features[0] @ features[0].T, merged)
    colours = np.random.default_rng(0).integers(40, 256, (int(painted.max()) + 1, 3))
    regions = (0.5 * image + 0.5 * colours[painted]).astype(np.uint8)
    lines = []
    for down, along in POINTS:
        y, x = int(down * GRID[0]), int(along * GRID[1])
        marked = image.copy()
        marked[y * 14 : y * 14 + 14, x * 14 : x * 14 + 14] = (255, 0, 0)
        place = y * GRID[1] + x
        lines.append(
            np.concatenate([marked, shade(image, proxy[place]), regions, shade(image, scope[place])], axis=1)
        )
    sheet = Image.fromarray(np.concatenate(lines, axis=0))
    sheet.resize((sheet.width // 2, sheet.height // 2)).save(arguments.out, quality=80)


if __name__ == "__main__":
    main()
