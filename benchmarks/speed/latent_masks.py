"""Time mining of nameless classes: two images of 512×512 with 32×32 dense features each.

    python benchmarks/speed/latent_masks.py

The plain loop follows Algorithm 1 of the supplement with its masks at the size of the features, window by window and seed by
seed, on the same k-means; see ``ops.latent_masks`` for what is the same.
"""

import argparse
from pathlib import Path

import torch
from einops import rearrange
from timing import compare, print_rows, write_json
from torch.nn.functional import normalize

from lexiseg.ops.latent_masks import fuse_labels, mine_latent_groups

VOID = 65535


def made_maps(num_images: int, side: int, width: int, num_things: int) -> torch.Tensor:
    """Make features of some things in rectangles, with noise."""
    generator = torch.Generator().manual_seed(0)
    directions = normalize(torch.randn(num_things, width, generator=generator), dim=1)
    block = side // 4
    labels = torch.randint(num_things, (num_images, 4, 4), generator=generator)
    labels = labels.repeat_interleave(block, 1).repeat_interleave(block, 2)
    maps = directions[labels] + torch.randn(*labels.shape, width, generator=generator) / width**0.5
    return rearrange(maps, "b h w d -> b d h w").contiguous()


@torch.no_grad()
def plain_loop(
    maps: torch.Tensor, labels: torch.Tensor, threshold: float = 0.8, *, literal: bool
) -> torch.Tensor:
    """Mine and fuse with one operation a window, a seed and a group."""
    units = normalize(maps, dim=1)
    images, _, height, width = units.shape
    tokens = rearrange(units, "b d h w -> (b h w) d")
    seeds, masks = [], []
    for side in (3, 7):
        windows = [
            units[image, :, top : top + side, left : left + side].mean(dim=(1, 2))
            for image in range(images)
            for top in range(0, height - side + 1, side)
            for left in range(0, width - side + 1, side)
        ]
        for _ in range(2):
            nearest = (tokens @ normalize(torch.stack(windows), dim=1).T).argmax(dim=1)
            members = [nearest == seed for seed in range(len(windows))]
            windows = [
                tokens[member].mean(dim=0) if member.any() else seed
                for member, seed in zip(members, windows, strict=True)
            ]
        kept = [seed for seed, member in enumerate(members) if member.any()]
        seeds += [windows[seed] for seed in kept]
        masks += [members[seed] for seed in kept]
    units_of_seeds = normalize(torch.stack(seeds), dim=1)
    similarity, stacked = units_of_seeds @ units_of_seeds.T, torch.stack(masks).float()
    similarity.fill_diagonal_(1.0 if literal else -torch.inf)
    groups, used = [], torch.zeros(len(seeds), dtype=torch.bool)
    while similarity.max() >= threshold:
        row = int((similarity == similarity.max()).nonzero()[0, 0])
        chosen = similarity[row] >= threshold
        chosen[row] = True
        groups.append(stacked[chosen].sum(dim=0))
        similarity[chosen] = -torch.inf
        similarity[:, chosen] = -torch.inf
        used |= chosen
    groups += [stacked[seed] for seed in (~used).nonzero().flatten().tolist()]
    fused = labels.clone()
    votes = torch.stack(groups).view(-1, images, height, width)
    free = (labels == VOID).float()
    share = torch.nn.functional.adaptive_avg_pool2d(free[:, None], (height, width))[:, 0]
    best, owner = torch.zeros(images, height, width), torch.full((images, height, width), -1)
    number = 0
    for group in votes:
        claimed = (group > 0).float()
        if (claimed * share).sum() < max(4, 0.5 * claimed.sum()):
            continue
        better = group > best
        best, owner = torch.where(better, group, best), torch.where(better, number, owner)
        number += 1
    factor = labels.shape[1] // height
    owner = owner.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    fused[(labels == VOID) & (owner >= 0)] = 12 + owner[(labels == VOID) & (owner >= 0)]
    return fused


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for images, things in ((2, 12), (2, 40)):
        maps = made_maps(images, 32, 512, things)
        labels = torch.full((images, 512, 512), VOID)
        labels[:, :, :128] = 0

        def ours(reading: str, maps=maps, labels=labels) -> torch.Tensor:
            votes = mine_latent_groups(maps, reading=reading)  # type: ignore[arg-type]
            return fuse_labels(labels, votes, labels == VOID, first_label=12)[0]

        for reading in ("prose", "literal"):
            functions = {
                f"ours, {reading}": lambda reading=reading: ours(reading),
                f"plain loop, {reading}": lambda reading=reading, maps=maps, labels=labels: plain_loop(
                    maps, labels, literal=reading == "literal"
                ),
            }
            first, second = (function() for function in functions.values())
            same = float(((first >= 12) == (second >= 12)).float().mean())
            repeats = given.repeats if images == 2 else 3
            rows += compare(functions, repeats, images=images, things=things, mined_alike=round(same, 4))
    print_rows(
        rows, "Windows, k-means, merging and fusing; 32x32 features of 512 dimensions, labels of 512x512"
    )
    write_json(Path(__file__).with_suffix(".json"), rows, ["torch", "numba"])


if __name__ == "__main__":
    main()
