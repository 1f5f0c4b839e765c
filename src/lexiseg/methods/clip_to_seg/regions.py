"""Regions of a batch: what is one class in one image, and what student and teacher say of it."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.methods.clip_to_seg.teacher import Teacher
from lexiseg.ops.latent_masks import cell_centres

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
        size: In positions.
        of_position: Region of each position; -1 where none is.
    """

    image: Int64[Tensor, " P"]
    label: Int64[Tensor, " P"]
    size: Int64[Tensor, " P"]
    of_position: Int64[Tensor, "B h w"]


def find_regions(labels: Int64[Tensor, "B h w"]) -> Regions:
    """List the regions of a batch; void belongs to none."""
    shown = labels != IGNORE_INDEX
    many = int(torch.where(shown, labels, -1).max()) + 2 if labels.numel() else 1
    # The last number of an image stands for void.
    number = (
        torch.where(shown, labels, many - 1)
        + many * torch.arange(len(labels), device=labels.device)[:, None, None]
    )
    sizes = number.flatten().bincount(minlength=many * len(labels)).view(len(labels), many)
    sizes[:, -1] = 0
    image, label = sizes.nonzero(as_tuple=True)
    region = torch.full((sizes.numel(),), -1, device=labels.device)
    region[image * many + label] = torch.arange(len(image), device=labels.device)
    return Regions(image, label, sizes[image, label], region[number])


def telling_regions(regions: Regions, max_regions: int | None = None) -> Int64[Tensor, " Q"]:
    """Return the numbers of the regions of ``MIN_POSITIONS`` or more, in their order.

    Args:
        regions: Of a batch.
        max_regions: The largest so many of each image, the lower label of equals; None for all.
    """
    kept = regions.size >= MIN_POSITIONS
    if max_regions is not None:
        order = regions.size.argsort(descending=True, stable=True)
        order = order[regions.image[order].argsort(stable=True)]
        place = torch.arange(len(order), device=order.device)
        starts = torch.searchsorted(regions.image[order].contiguous(), regions.image[order].contiguous())
        kept[order[place - starts >= max_regions]] = False
    return kept.nonzero().flatten()


def sums_over_regions(maps: Float[Tensor, "B D h w"], regions: Regions) -> Float[Tensor, "P D"]:
    """Add up the student's features over each region, with gradient.

    A product with the regions' masks, image by image: the maps are read as they lie in memory.
    """
    sums = []
    numbers = torch.arange(len(regions.image), device=maps.device)
    for image, own in enumerate(maps.float()):
        masks = regions.of_position[image].flatten() == numbers[regions.image == image, None]
        sums.append(masks.to(own) @ rearrange(own, "d h w -> (h w) d"))
    return torch.cat(sums)


def class_prototypes(
    sums: Float[Tensor, "P D"], regions: Regions
) -> tuple[Float[Tensor, "C D"], Int64[Tensor, " C"]]:
    """Average features over all positions of each class of the batch; give them with the labels, in order."""
    classes, number = torch.unique(regions.label, return_inverse=True)
    areas = regions.size.new_zeros(len(classes)).index_add(0, number, regions.size)
    totals = sums.new_zeros(len(classes), sums.shape[1]).index_add(0, number, sums)
    return totals / areas[:, None], classes


@torch.no_grad()
def pooled_vectors(maps: Float[Tensor, "B D g1 g2"], regions: Regions) -> Float[Tensor, "P D"]:
    """Average the directions of a teacher's dense features over each region.

    Each position has the dense feature that its centre lies in, so these are weighed by the positions they have.
    """
    units = normalize(maps.float(), dim=1)
    grid, size = units.shape[2:], regions.of_position.shape[1:]
    rows, columns = (
        cell_centres(cells, positions, maps.device) for cells, positions in zip(grid, size, strict=True)
    )
    cell = (rows[:, None] * grid[1] + columns).expand(regions.of_position.shape)
    inside = regions.of_position >= 0
    pairs = regions.of_position[inside] * grid.numel() + cell[inside]
    count = len(regions.image)
    weights = pairs.bincount(minlength=count * grid.numel()).view(count, grid.numel()).to(units)
    means = [
        weights[regions.image == image] @ rearrange(own, "d h w -> (h w) d")
        for image, own in enumerate(units)
    ]
    return torch.cat(means) / regions.size[:, None]


@torch.no_grad()
def encoded_vectors(
    teacher: Teacher,
    images: Float[Tensor, "B 3 H W"],
    regions: Regions,
    chosen: Int64[Tensor, " Q"],
) -> Float[Tensor, "Q D"]:
    """Let the teacher look at each chosen region alone: the rest is painted over, and the crop is enlarged.

    Memory and time grow with the number of regions: each is a forward pass.
    """
    side = max(1, round(_SIDE / teacher.stride)) * teacher.stride
    outside = images.new_tensor(OUTSIDE)[:, None, None]
    crops = []
    for region in chosen.tolist():
        image = int(regions.image[region])
        mask = regions.of_position[image] == region
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


def same_class(labels: Int64[Tensor, " Q"]) -> Bool[Tensor, "Q Q"]:
    """Return which pairs of different regions show one class, so that neither is a negative of the other."""
    same = labels[:, None] == labels
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


def _span(occupied: Bool[Tensor, " h"], size: int) -> tuple[int, int]:
    """Return the first pixel and the one after the last of what is occupied on a coarser grid."""
    places = occupied.nonzero().flatten()
    cells = len(occupied)
    return int(places[0]) * size // cells, -(-(int(places[-1]) + 1) * size // cells)
