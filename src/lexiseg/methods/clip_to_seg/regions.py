"""Regions of a batch: what is one class in one image, and what student and teacher say of it."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.methods.clip_to_seg.fused_labels import at_positions
from lexiseg.methods.clip_to_seg.teacher import Teacher

#: A region of fewer positions says nothing.
MIN_POSITIONS = 4
#: What is not the region, when it is encoded on its own: the mean colour CLIP was trained with.
OUTSIDE = (0.48145466, 0.4578275, 0.40821073)
#: Side of a region that is encoded on its own, in pixels.
_SIDE = 224


class Regions(NamedTuple):
    """One entry a class and image, in the order of images and labels.

    Attributes:
        image: Row of the batch.
        label: Of the class.
        of_position: Region of each position, in raster order over the batch; -1 where none is.
    """

    image: Int64[Tensor, " P"]
    label: Int64[Tensor, " P"]
    of_position: Int64[Tensor, " N"]


def find_regions(labels: Int64[Tensor, "B h w"], max_regions: int | None = None) -> Regions:
    """List the regions of a batch.

    Args:
        labels: Void belongs to none.
        max_regions: The largest so many of each image, the lower label of equals; None for all.
    """
    many = IGNORE_INDEX + 1
    images = torch.arange(len(labels), device=labels.device)[:, None, None]
    keys = (images * many + labels.clamp(max=IGNORE_INDEX)).flatten()
    found, position, sizes = torch.unique(keys, return_inverse=True, return_counts=True)
    kept = (found % many != IGNORE_INDEX) & (sizes >= MIN_POSITIONS)
    if max_regions is not None:
        order = torch.where(kept, sizes, 0).argsort(descending=True, stable=True)
        order = order[(found[order] // many).argsort(stable=True)]
        image = found[order] // many
        place = torch.arange(len(order), device=order.device)
        starts = torch.full((len(labels),), len(order), device=order.device).scatter_reduce(
            0, image, place, "amin"
        )
        kept[order[place - starts[image] >= max_regions]] = False
    number = torch.where(kept, kept.cumsum(0) - 1, -1)
    return Regions(found[kept] // many, found[kept] % many, number[position])


def mean_over_regions(maps: Float[Tensor, "B D h w"], regions: Regions) -> Float[Tensor, "P D"]:
    """Average features over each region, with gradient."""
    tokens = rearrange(maps, "b d h w -> (b h w) d").float()
    inside = regions.of_position >= 0
    return _means(tokens[inside], regions.of_position[inside], len(regions.label))


def class_prototypes(
    maps: Float[Tensor, "B D h w"], labels: Int64[Tensor, "B h w"]
) -> tuple[Float[Tensor, "C D"], Int64[Tensor, " C"]]:
    """Average features over all positions of each class of the batch; give them with the labels, in order."""
    tokens = rearrange(maps, "b d h w -> (b h w) d").float()
    flat = labels.flatten()
    inside = flat != IGNORE_INDEX
    classes, number = torch.unique(flat[inside], return_inverse=True)
    return _means(tokens[inside], number, len(classes)), classes


def pooled_vectors(
    maps: Float[Tensor, "B D g1 g2"], labels: Int64[Tensor, "B h w"], regions: Regions
) -> Tensor:
    """Average the directions of a teacher's dense features over each region."""
    return mean_over_regions(at_positions(normalize(maps.float(), dim=1), labels.shape[-2:]), regions)


@torch.no_grad()
def encoded_vectors(
    teacher: Teacher, images: Float[Tensor, "B 3 H W"], labels: Int64[Tensor, "B h w"], regions: Regions
) -> Float[Tensor, "P D"]:
    """Let the teacher look at each region alone: the rest is painted over, and the crop is enlarged.

    Memory and time grow with the number of regions: each is a forward pass.
    """
    side = max(1, round(_SIDE / teacher.stride)) * teacher.stride
    masks = regions.of_position.view(labels.shape)
    outside = images.new_tensor(OUTSIDE)[:, None, None]
    crops = []
    for region, image in enumerate(regions.image.tolist()):
        mask = masks[image] == region
        top, bottom = _span(mask.any(dim=1), images.shape[2])
        left, right = _span(mask.any(dim=0), images.shape[3])
        large = interpolate(mask[None, None].float(), size=images.shape[2:], mode="nearest-exact")[0] > 0.5
        alone = torch.where(large, images[image], outside)[None, :, top:bottom, left:right]
        crops.append(interpolate(alone, size=(side, side), mode="bilinear", antialias=True)[0])
    if not crops:
        return images.new_zeros(0, teacher.width)
    vectors = teacher.look(torch.stack(crops)).global_token
    assert vectors is not None
    return vectors


def same_class(regions: Regions) -> Bool[Tensor, "P P"]:
    """Return which pairs of different regions show one class, so that neither is a negative of the other."""
    same = regions.label[:, None] == regions.label
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def _means(tokens: Float[Tensor, "N D"], number: Int64[Tensor, " N"], count: int) -> Float[Tensor, "C D"]:
    sums = tokens.new_zeros(count, tokens.shape[1]).index_add(0, number, tokens)
    return sums / number.bincount(minlength=count)[:, None].clamp(min=1)


def _span(occupied: Bool[Tensor, " h"], size: int) -> tuple[int, int]:
    """Return the first pixel and the one after the last of what is occupied on a coarser grid."""
    places = occupied.nonzero().flatten()
    cells = len(occupied)
    return int(places[0]) * size // cells, -(-(int(places[-1]) + 1) * size // cells)
