"""Which pixels of a pair of images are compared with one another."""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor

#: Part of the points that comes from the class both images show; the others come from elsewhere.
SAME_CLASS_SHARE = 0.8

#: Height of the random part beside an indicator of 1: order within a region, never across its border.
_JITTER = 0.1


def draw_points(
    region: Bool[Tensor, "B P"], count: int, *, excluded: Bool[Tensor, "B P"] | None = None
) -> Int64[Tensor, "B K"]:
    """Draw different pixels of each image: from the region first, then from what is left, last from ``excluded``.

    Args:
        region: Where to draw.
        count: Points an image; ``P`` where there are fewer pixels.
        excluded: Pixels that are drawn only where nothing else is left, such as padding.

    Returns:
        Positions in ``0..P-1``, those of the region first.
    """
    rank = region.float() + _JITTER * torch.rand(region.shape, device=region.device)
    if excluded is not None:
        rank = rank - 2 * excluded.float()
    return rank.topk(min(count, region.shape[1]), dim=1).indices


def draw_labelled_points(
    first: Int64[Tensor, "B P"],
    second: Int64[Tensor, "B P"],
    count: int,
    *,
    num_classes: int,
    padding: Bool[Tensor, "2 B P"],
) -> tuple[Int64[Tensor, "B K"], Int64[Tensor, "B K"]]:
    """Draw points of pairs of images on which "same class" can be learnt.

    A class that both show is drawn at random. 80 % of the points of either image are of it, 20 % are
    not; where they share none, 80 % are of any class with a mask.

    Args:
        first: Labels of each pixel, ``num_classes`` or more where there is none.
        second: Labels of the other images.
        count: Points an image.
        num_classes: Labels below this have masks.
        padding: Pixels that are no part of either image.

    Returns:
        Positions in either image, those of the class first.
    """
    both = _present(first, num_classes) & _present(second, num_classes)
    chosen = (both * (torch.rand(both.shape, device=both.device) + _JITTER)).argmax(dim=1)
    shared = both.any(dim=1)
    inside = round(SAME_CLASS_SHARE * count)
    points = []
    for labels, empty in zip((first, second), padding, strict=True):
        region = torch.where(shared[:, None], labels == chosen[:, None], labels < num_classes) & ~empty
        of_class = draw_points(region, inside, excluded=empty)
        drawn = torch.zeros_like(region).scatter(1, of_class, value=True)
        elsewhere = draw_points(~region & ~empty & ~drawn, count - inside, excluded=empty | drawn)
        points.append(torch.cat([of_class, elsewhere], dim=1))
    return points[0], points[1]


def look_up(maps: Float[Tensor, "B D h w"], points: Int64[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
    """Read maps at pixels. At the centre of a pixel, bilinear interpolation is a look-up."""
    rows = rearrange(maps, "b d h w -> b d (h w)")
    index = repeat(points, "b k -> b d k", d=rows.shape[1])
    return rearrange(rows.gather(2, index), "b d k -> b k d")


def _present(labels: Int64[Tensor, "B P"], num_classes: int) -> Bool[Tensor, "B K"]:
    counts = torch.zeros(len(labels), num_classes + 1, device=labels.device)
    counts.scatter_(1, labels.clamp(max=num_classes), 1.0)
    return counts[:, :num_classes] > 0
