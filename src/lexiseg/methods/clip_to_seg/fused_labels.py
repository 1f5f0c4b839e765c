"""From masks of seen classes to labels that also hold nameless classes, a few images at a time."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.methods.clip_to_seg.settings import ClipToSegSettings
from lexiseg.ops.latent_masks import cell_centres, fuse_labels, mine_latent_groups


class FusedLabels(NamedTuple):
    """Labels of a batch.

    Attributes:
        labels: Of named classes below ``num_named``, of nameless ones from there on, else void.
        num_named: Classes with a text.
        rows: Images that were mined together, as first row and the row after the last.
        latent: The labels of nameless classes of each of these, as first and the one after the last.
    """

    labels: Int64[Tensor, "B h w"]
    num_named: int
    rows: tuple[tuple[int, int], ...]
    latent: tuple[tuple[int, int], ...]


class GridLabels(NamedTuple):
    """A batch's labels at the student's positions.

    Attributes:
        labels: Seen classes, or void.
        padding: Positions that are no part of the image.
        truth: The data set's own labels, where an ablation asks for them.
    """

    labels: Int64[Tensor, "B h w"]
    padding: Bool[Tensor, "B h w"]
    truth: Int64[Tensor, "B h w"] | None


@torch.no_grad()
def fuse_batch(
    grid: GridLabels,
    teacher_maps: Float[Tensor, "B D g1 g2"],
    texts: Float[Tensor, "K D"],
    num_seen: int,
    method: ClipToSegSettings,
) -> FusedLabels:
    """Find nameless classes where no label is.

    Args:
        grid: At the student's positions.
        teacher_maps: Dense features.
        texts: Of the seen classes, then of unseen ones where training is transductive.
        num_seen: How many are seen.
        method: Where masks come from.
    """
    named = len(texts)
    labels, free = grid.labels.clone(), (grid.labels == IGNORE_INDEX) & ~grid.padding
    starts = range(0, len(labels), method.mined_together)
    rows = tuple((start, min(start + method.mined_together, len(labels))) for start in starts)
    latent = []
    first = named
    for start, stop in rows:
        part = slice(start, stop)
        count = 0
        if method.masks == "oracle":
            labels[part], count = _true_groups(grid, part, free[part], first)
        elif method.masks != "none" and free[part].any():
            labels[part], count = _mined_groups(labels[part], free[part], teacher_maps[part], first, method)
        if method.transductive and count:
            found = labels[part]
            labels[part] = _name_groups(found, teacher_maps[part], texts, num_seen, first, count)
            count = 0
        latent.append((first, first + count))
        first += count
    return FusedLabels(labels, named, rows, tuple(latent))


def _mined_groups(
    labels: Int64[Tensor, "b h w"],
    free: Bool[Tensor, "b h w"],
    maps: Float[Tensor, "b D g1 g2"],
    first: int,
    method: ClipToSegSettings,
) -> tuple[Int64[Tensor, "b h w"], int]:
    votes = mine_latent_groups(
        maps,
        windows=method.windows,
        updates=method.updates,
        threshold=method.similarity,
        reading="literal" if method.merging == "literal" else "prose",
        merged=method.merging != "none",
    )
    if method.masks == "random":
        flat = votes.flatten(1)
        votes = flat[:, torch.randperm(flat.shape[1], device=flat.device)].view(votes.shape)
    fused, kept = fuse_labels(
        labels,
        votes,
        free,
        first_label=first,
        min_area=float(method.min_area),
        min_free=float(method.min_unlabelled),
    )
    return fused, len(kept)


def _true_groups(
    grid: GridLabels, part: slice, free: Bool[Tensor, "b h w"], first: int
) -> tuple[Int64[Tensor, "b h w"], int]:
    assert grid.truth is not None, "the oracle needs the truth in the batch (data.truth)"
    truth, labels = grid.truth[part], grid.labels[part]
    chosen = free & (truth != IGNORE_INDEX)
    classes, number = torch.unique(truth[chosen], return_inverse=True)
    labels = labels.clone()
    labels[chosen] = first + number
    return labels, len(classes)


def _name_groups(
    labels: Int64[Tensor, "b h w"],
    maps: Float[Tensor, "b D g1 g2"],
    texts: Float[Tensor, "K D"],
    num_seen: int,
    first: int,
    count: int,
) -> Int64[Tensor, "b h w"]:
    """Return each nameless class the unseen name its features are nearest to; void where a seen name is nearer."""
    tokens = rearrange(at_centres(maps, labels.shape[-2:]), "b d h w -> (b h w) d")
    flat = labels.flatten()
    member = (flat >= first) & (flat < first + count)
    sums = torch.zeros(count, tokens.shape[1], device=tokens.device, dtype=tokens.dtype)
    sums.index_add_(0, flat[member] - first, normalize(tokens[member], dim=1))
    names = (sums @ texts.to(sums).T).argmax(dim=1)
    names = torch.where(names >= num_seen, names, IGNORE_INDEX)
    named = flat.clone()
    named[member] = names[flat[member] - first]
    return named.view(labels.shape)


def at_centres(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Take maps, whose last sides are height and width, where the centres of the positions of another grid lie."""
    for dimension, wanted in ((-2, size[0]), (-1, size[1])):
        maps = maps.index_select(dimension, cell_centres(maps.shape[dimension], wanted, maps.device))
    return maps
