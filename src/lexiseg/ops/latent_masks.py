"""Mine masks of nameless classes from dense features: k-means with windows as seeds, then merging.

CLIP-to-Seg Distillation (anonymous ICLR 2025 submission; IEEE TCSVT 2025). The windows, the threshold and Algorithm 1 are
from its supplement, the k-means from its precursor CLIP-ZSS (arXiv 2310.02296). The supplement's prose
and its Algorithm 1 disagree on merging; both are here (``Reading``). No gradient anywhere.

Merging compares all seeds with each other: memory is the square of their number, once a call.
"""

from collections.abc import Sequence
from typing import Literal, no_type_check

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize, one_hot

from lexiseg.core.compiled import njit

#: ``prose``: the most similar pair first, a seed is not compared with itself, what is left over stays single.
#: ``literal``: Algorithm 1 as printed; every seed is most similar to itself, so seeds are taken in their order.
Reading = Literal["prose", "literal"]

#: A seed that belongs to no group.
LEFT_OVER = -1


@torch.no_grad()
def mine_latent_groups(
    maps: Float[Tensor, "B D h w"],
    *,
    windows: Sequence[int] = (3, 7),
    updates: int = 1,
    threshold: float = 0.8,
    reading: Reading = "prose",
    merged: bool = True,
) -> Int64[Tensor, "G B h w"]:
    """Compute groups of similar positions over all images together; an image may have no part in a group.

    Args:
        maps: Dense features; only their directions count.
        windows: Sides of the windows whose means are the seeds; each side gives a partition of its own.
        updates: Rounds of moving seeds to the mean of their positions, each followed by a new assignment.
        threshold: Seeds of at least this cosine are merged.
        reading: Of the supplement, see ``Reading``.
        merged: False leaves every seed a group of its own.

    Returns:
        Votes: how many seeds of a group claim a position, at most one a window side. Merged groups come first, in
        the order they were found, then seeds that are similar to no other.
    """
    images, height, width = len(maps), maps.shape[2], maps.shape[3]
    tokens = _unit_tokens(maps)
    units = rearrange(tokens, "(b h w) d -> b d h w", b=images, h=height)  # the same memory, channels last
    found = [cluster_tokens(tokens, window_seeds(units, side), updates) for side in windows]
    seeds = torch.cat([seeds for seeds, _ in found])
    groups = torch.arange(len(seeds), device=seeds.device)
    if merged:
        groups = with_singletons(merge_seeds(seeds, threshold, reading))
    num_groups = int(groups.max()) + 1 if len(groups) else 0
    places, first = [], 0
    for of_scale, assignment in found:
        positions = torch.arange(len(tokens), device=tokens.device)
        places.append(groups[first + assignment] * len(tokens) + positions)
        first += len(of_scale)
    votes = torch.cat(places).bincount(minlength=num_groups * len(tokens))
    return rearrange(votes, "(g b h w) -> g b h w", b=images, h=height, w=width)


def window_seeds(maps: Float[Tensor, "B D h w"], side: int) -> Float[Tensor, "S D"]:
    """Average windows that do not overlap; what is left at the right and below is in none.

    A window larger than the map is cut to its size, so that there is at least one seed an image.
    """
    height, width = min(side, maps.shape[2]), min(side, maps.shape[3])
    return rearrange(avg_pool2d(maps, (height, width)), "b d h w -> (b h w) d")


def cluster_tokens(
    tokens: Float[Tensor, "P D"], seeds: Float[Tensor, "S D"], updates: int
) -> tuple[Float[Tensor, "R D"], Int64[Tensor, " P"]]:
    """Group tokens around seeds by cosine.

    Args:
        tokens: Unit rows.
        seeds: Of any length.
        updates: Rounds of k-means.

    Returns:
        The means of the groups (not normalised; without update the seeds themselves), those without a
        token left out, and the group of each token.
    """
    assignment = _nearest(tokens, seeds)
    for _ in range(updates):
        sums = torch.zeros_like(seeds).index_add_(0, assignment, tokens)
        counts = assignment.bincount(minlength=len(seeds))
        # A seed without a token stays where it is for the next round.
        seeds = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], seeds)
        assignment = _nearest(tokens, seeds)
    occupied = assignment.bincount(minlength=len(seeds)) > 0
    number = occupied.cumsum(0) - 1
    return seeds[occupied], number[assignment]


def merge_seeds(
    seeds: Float[Tensor, "S D"], threshold: float, reading: Reading = "prose"
) -> Int64[Tensor, " S"]:
    """Group seeds of similar direction; each belongs to one group at most. Always ends.

    A group is a star: all its members are similar to the seed it was found by, not to one another.

    ``prose``: take the most similar pair of unused seeds, the first row and then the first column of equals, with
    everything unused that is at least ``threshold`` similar to the row's seed; stop when no pair is. ``literal``: take the
    unused seeds in their order, each with everything unused more than ``threshold`` similar to it, the seed itself
    included; above a threshold of 1 there is no group.

    Args:
        seeds: Of any length but 0.
        threshold: Cosine.
        reading: Of the supplement.

    Returns:
        Number of each seed's group, counted from 0 in the order they were found; ``LEFT_OVER`` for a seed in
        none (``literal`` has single seeds as groups).
    """
    units = normalize(seeds.float(), dim=1)
    with torch.autocast(seeds.device.type, enabled=False):  # of a training in half precision
        similarity = units @ units.T
    groups = group_similar(similarity.cpu().numpy(), threshold, reading)
    return torch.from_numpy(groups).to(seeds.device)


def group_similar(
    similarity: Float32[np.ndarray, "S S"], threshold: float, reading: Reading
) -> Int64[np.ndarray, " S"]:
    """Group by a symmetric matrix of similarities, of which the upper triangle is read; see ``merge_seeds``."""
    kernel = _group_by_prose if reading == "prose" else _group_literally
    # The comparison is in single precision, as the similarities are: 0.8 is at least 0.8.
    return kernel(similarity, np.float32(threshold))


def with_singletons(groups: Int64[Tensor, " S"]) -> Int64[Tensor, " S"]:
    """Number the seeds in no group as groups of their own, after the others."""
    left = groups == LEFT_OVER
    first = int(groups.max()) + 1 if len(groups) else 0
    return torch.where(left, first + left.cumsum(0) - 1, groups)


@torch.no_grad()
def fuse_labels(
    label_maps: Int64[Tensor, "B H W"],
    votes: Int64[Tensor, "G B h w"],
    free: Bool[Tensor, "B H W"],
    *,
    first_label: int,
    min_area: float = 4.0,
    min_free: float = 0.5,
) -> tuple[Int64[Tensor, "B H W"], Int64[Tensor, " L"]]:
    """Return pixels without a label the group that most seeds vote for; labels are never changed.

    Args:
        label_maps: Labels; a pixel without label and without group keeps what it has.
        votes: Of ``mine_latent_groups``, at the size of the token grid.
        free: Pixels that may get a group; none of them has a label.
        first_label: Label of the first group that is kept.
        min_area: Free area of a group, in tokens, below which it is dropped.
        min_free: Share of a group's area that is free, below which it is dropped: it is a labelled object.

    Returns:
        The fused label maps, and the number (in ``votes``) of each group that is kept and owns a pixel: label
        ``first_label + k`` is group ``kept[k]``. Of groups with equal votes the earlier one wins.
    """
    cells = [
        cell_centres(there, size, free.device)
        for there, size in zip(votes.shape[-2:], free.shape[-2:], strict=True)
    ]
    share = _mean_over_cells(free.float(), cells, votes.shape[-2:])
    claimed = (votes > 0).to(share)
    area, free_area = claimed.sum(dim=(1, 2, 3)), (claimed * share).sum(dim=(1, 2, 3))
    kept = ((free_area >= min_area) & (free_area >= min_free * area) & (free_area > 0)).nonzero().flatten()
    if not len(kept):
        return label_maps.clone(), kept
    best = votes[kept].max(dim=0)
    owned = (best.values > 0) & (share > 0)
    present = best.indices[owned].bincount(minlength=len(kept)) > 0
    labels = torch.where(owned, first_label + (present.cumsum(0) - 1)[best.indices], -1)
    at_pixels = labels.index_select(2, cells[1]).index_select(1, cells[0])
    # Into memory that is there already: a batch's label maps are megabytes.
    return torch.where(free & (at_pixels >= 0), at_pixels, label_maps, out=at_pixels), kept[present]


def cell_centres(cells: int, size: int, device: torch.device) -> Int64[Tensor, " N"]:
    """Return the cell, of so many along one side, that the centre of each of ``size`` positions lies in."""
    return (2 * torch.arange(size, device=device) + 1) * cells // (2 * size)


def _unit_tokens(maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "P D"]:
    """Return unit rows; image by image, as torch copies a transposed matrix by blocks, but not a batch of them."""
    images, dim = maps.shape[:2]
    tokens = torch.empty(images, maps.shape[2] * maps.shape[3], dim, device=maps.device)
    for rows, image in zip(tokens, maps, strict=True):
        rows.copy_(image.flatten(1).T)
    lengths = torch.linalg.vector_norm(tokens, dim=2, keepdim=True)
    return tokens.div_(lengths.clamp_(min=1e-12)).flatten(0, 1)


def _nearest(tokens: Float[Tensor, "P D"], seeds: Float[Tensor, "S D"]) -> Int64[Tensor, " P"]:
    # The first of equals, as argmax gives; on a CPU max is the faster of the two.
    return (tokens @ normalize(seeds, dim=1).T).max(dim=1).indices


def _mean_over_cells(
    maps: Float[Tensor, "B H W"], cells: Sequence[Int64[Tensor, " N"]], grid: torch.Size
) -> Float[Tensor, "B h w"]:
    """Average the pixels whose centres lie in each token; 0 in a token without one."""
    rows, columns = (one_hot(each, side).float() for each, side in zip(cells, grid, strict=True))
    counts = rows.sum(dim=0)[:, None] * columns.sum(dim=0)
    return rows.T @ (maps @ columns) / counts.clamp_(min=1)


@njit(cache=True, nogil=True)
@no_type_check
def _group_by_prose(similarity, threshold):
    """Keep the best unused partner of every row; look again only when that one is used up."""
    count = len(similarity)
    groups = np.full(count, -1, np.int64)
    partner = np.full(count, -1, np.int64)
    best = np.full(count, -np.inf, np.float32)
    for row in range(count):
        _find_partner(similarity, groups, row, partner, best)
    found = 0
    while True:
        top, top_row = np.float32(-np.inf), -1
        for row in range(count):
            if groups[row] >= 0 or best[row] <= top:
                continue
            if groups[partner[row]] >= 0:  # what is left for this row can only be less
                _find_partner(similarity, groups, row, partner, best)
                if best[row] <= top:
                    continue
            top, top_row = best[row], row
        if top_row < 0 or not top >= threshold:
            return groups
        for column in range(count):
            if groups[column] < 0 and column != top_row:
                value = similarity[min(top_row, column), max(top_row, column)]
                if value >= threshold:
                    groups[column] = found
        groups[top_row] = found
        found += 1


@njit(cache=True, nogil=True)
@no_type_check
def _find_partner(similarity, groups, row, partner, best):
    best[row], partner[row] = -np.inf, -1
    for column in range(len(similarity)):
        if column != row and groups[column] < 0:
            value = similarity[min(row, column), max(row, column)]
            if value > best[row]:
                best[row], partner[row] = value, column


@njit(cache=True, nogil=True)
@no_type_check
def _group_literally(similarity, threshold):
    count = len(similarity)
    groups = np.full(count, -1, np.int64)
    found = 0
    if threshold > 1:
        return groups
    for row in range(count):
        if groups[row] >= 0:
            continue
        for column in range(row + 1, count):
            if groups[column] < 0 and similarity[row, column] > threshold:
                groups[column] = found
        groups[row] = found  # its similarity to itself is 1; at a threshold of 1 it is still used up
        found += 1
    return groups
