"""RIM's arithmetic at the size of a real image: fusing, pooling, matching and painting, beside plain ways.

Masks are ellipses: a quarter of them things, the others parts of things, as a mask proposer finds them.
"""

from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask
from scipy.sparse import csr_array
from timing import Row, compare, print_rows, write_json
from torch.nn.functional import interpolate, normalize

from lexiseg.ops.mask_fusing import fuse_masks, fused_groups, pack_masks
from lexiseg.ops.painting import paint_regions
from lexiseg.ops.region_matching import match_regions, reference_scores
from lexiseg.ops.region_pooling import patch_coverage, pool_regions, region_weights

SIDE, GRID, WIDTH = 1024, (37, 37), 1024
NUM_REGIONS, NUM_CLASSES, NUM_REFERENCES = 100, 847, 5


def draw_masks(num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    masks = np.zeros((num, SIDE, SIDE), dtype=bool)
    things: list[tuple[float, float, float]] = []
    for index in range(num):
        if index < num // 4:
            y, x, radius = rng.uniform(0, SIDE), rng.uniform(0, SIDE), SIDE * rng.uniform(0.05, 0.25)
            things.append((y, x, radius))
        else:
            y, x, whole = things[rng.integers(len(things))]
            angle, away = rng.uniform(0, 2 * np.pi), whole * rng.uniform(0, 0.8)
            y, x, radius = y + away * np.sin(angle), x + away * np.cos(angle), whole * rng.uniform(0.15, 0.7)
        stretch = rng.uniform(0.6, 1.6)
        masks[index] = (rows - y) ** 2 * stretch + (columns - x) ** 2 / stretch < radius**2
    return masks


def dense_pairs(masks: np.ndarray) -> np.ndarray:
    """Share of the smaller mask, all pairs as one product of dense matrices; no fusing yet."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    areas = flat.sum(1)
    return (flat @ flat.T) / np.minimum(areas[:, None], areas)


def run_length_pairs(masks: np.ndarray) -> np.ndarray:
    """The same by pycocotools: encode, then the share of either mask; no fusing yet."""
    encoded = [coco_mask.encode(np.asfortranarray(mask.view(np.uint8))) for mask in masks]
    share = coco_mask.iou(encoded, encoded, [1] * len(encoded))  # over the area of the first
    return np.maximum(share, share.T)


def gather_loop(tokens: torch.Tensor, masks: np.ndarray) -> torch.Tensor:
    """Pool one region after the other: resize its mask by area, take its tokens, average."""
    features = []
    for mask in masks:
        pixels = torch.from_numpy(mask)[None, None].float()
        weights = interpolate(pixels, size=GRID, mode="area").flatten()
        inside = weights > 0
        features.append((tokens[inside] * weights[inside, None]).sum(0) / weights.sum())
    return normalize(torch.stack(features), dim=-1)


def gather_weighted(tokens: torch.Tensor, all_weights: torch.Tensor) -> torch.Tensor:
    """The gather loop's second half: the weights are there already."""
    features = []
    for weights in all_weights:
        inside = weights > 0
        features.append((tokens[inside] * weights[inside, None]).sum(0))
    return normalize(torch.stack(features), dim=-1)


def gather_loop_at_pixels(feature_map: torch.Tensor, masks: np.ndarray) -> torch.Tensor:
    """Pool one region after the other at the size of the image: take the features of its pixels."""
    flat = feature_map.flatten(1)
    return normalize(
        torch.stack([flat[:, torch.from_numpy(mask).flatten()].mean(1) for mask in masks]), dim=-1
    )


def main() -> None:
    rows: list[Row] = []
    masks = draw_masks(200, seed=0)
    share, by_runs = dense_pairs(masks), run_length_pairs(masks)
    np.testing.assert_allclose(share, by_runs, atol=1e-4)
    functions = {
        "groups of masks (lexiseg)": lambda: fused_groups(masks),
        "groups and their masks (lexiseg)": lambda: fuse_masks(masks),
        "of which packing": lambda: pack_masks(masks),
        "transitive reading": lambda: fused_groups(masks, reading="transitive"),
        "one pass": lambda: fused_groups(masks, reading="one_pass"),
        "shares of pairs only: run lengths (pycocotools)": lambda: run_length_pairs(masks),
        "shares of pairs only: dense product (numpy)": lambda: dense_pairs(masks),
    }
    rows += compare(functions, repeats=5, step=f"fuse {len(masks)} masks of {SIDE}²")

    regions = masks[:NUM_REGIONS]
    tokens = torch.randn(GRID[0] * GRID[1], WIDTH, generator=torch.Generator().manual_seed(0))
    likeness = (pool_regions(tokens, GRID, regions) * gather_loop(tokens, regions)).sum(1)
    assert likeness.min() > 0.95, "the loop's resize has coarser bins, but the features must be alike"
    functions = {
        "one sparse product (lexiseg)": lambda: pool_regions(tokens, GRID, regions),
        "of which mask to patches": lambda: patch_coverage(regions, GRID),
        "a mask at a time": lambda: gather_loop(tokens, regions),
    }
    rows += compare(functions, repeats=7, step=f"pool {NUM_REGIONS} regions, {WIDTH} wide")
    weights = region_weights(regions, GRID)
    functions = {
        "one sparse product (scipy, as lexiseg)": lambda: csr_array(weights) @ tokens.numpy(),
        "a mask at a time": lambda: gather_weighted(tokens, torch.from_numpy(weights)),
        "one dense product (torch)": lambda: torch.from_numpy(weights) @ tokens,
    }
    rows += compare(functions, repeats=9, step=f"pool {NUM_REGIONS} regions, weights given")
    narrow = tokens[:, :64]
    feature_map = interpolate(narrow.T.reshape(1, 64, *GRID), size=(SIDE, SIDE), mode="bilinear")[0]
    functions = {
        "one sparse product (lexiseg)": lambda: pool_regions(narrow, GRID, regions),
        "a mask at a time, at pixels": lambda: gather_loop_at_pixels(feature_map, regions),
    }
    rows += compare(functions, repeats=3, step=f"pool {NUM_REGIONS} regions, 64 wide")

    generator = torch.Generator().manual_seed(1)
    references = torch.randn(NUM_CLASSES, NUM_REFERENCES, WIDTH, generator=generator)
    profiles = torch.rand(NUM_CLASSES, NUM_REFERENCES, NUM_CLASSES, generator=generator)
    features = torch.randn(NUM_REGIONS, WIDTH, generator=generator)
    scores = reference_scores(features, references)
    functions = {
        "features to labels, m = 5": lambda: match_regions(reference_scores(features, references), profiles),
        "of which cosines": lambda: reference_scores(features, references),
        "rankings, m = 5": lambda: match_regions(scores, profiles),
        "rankings, m = 5, Jensen-Shannon": lambda: match_regions(scores, profiles, kind="jensen_shannon"),
        "top one of all classes": lambda: match_regions(
            scores, profiles, ranking="top_one", num_candidates=None
        ),
        "best cosine": lambda: match_regions(scores, profiles, ranking="cosine"),
    }
    rows += compare(functions, repeats=9, step=f"match {NUM_REGIONS} × {NUM_CLASSES} × {NUM_REFERENCES}")
    rows += compare(
        {"smallest on top": lambda: paint_regions(regions)}, repeats=9, step=f"paint {NUM_REGIONS} of {SIDE}²"
    )
    print_rows(rows, "RIM's arithmetic; ratio to the first of each step")
    write_json(Path(__file__).with_suffix(".json"), rows, ["numpy", "numba", "scipy", "torch", "pycocotools"])


if __name__ == "__main__":
    main()
