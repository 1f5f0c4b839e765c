"""Move label borders from the encoder's coarse grid to the edges of the photograph.

An encoder gives one score per patch of 16 or 32 pixels, so that a resized label map has soft, wavy
borders that ignore the picture. ``refine_labels`` takes the classes that win somewhere on the grid,
turns their scores into shares, and

1. filters the shares along the picture's edges over about one patch (``ops.guided_filter``),
2. draws each pixel towards the mean of its colour region, over three sizes of regions
   (``ops.regions``),
3. smooths what is left of ragged borders with a short guided filter,
4. resizes to the photograph and takes the best class.

A combination of two known filters, chosen by measurement (``benchmarks/accuracy/refinement.md``). It
needs no training and no compiler; its cost does not depend on the vocabulary, and hardly on the size
of the photograph, because all but the last step work on a reduced copy.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from lexiseg.data.transforms import resize_image
from lexiseg.ops.guided_filter import guided_filter
from lexiseg.ops.regions import colour_regions, region_means
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_scores, scores_at


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """How far and how strongly borders follow the picture; lengths in patches, so grids of any stride do.

    Attributes:
        max_classes: Only so many classes take part, those that win most patches.
        working_pixels: Size of the reduced copy of the photograph; half of 640 x 480 each way.
        sharpness: Multiplies the scores, in units of their spread over classes, before softmax.
        radius: Reach of the guided filter, in patches.
        flat_variance: Colour variance (RGB in [0, 1]) below which a neighbourhood has no edge.
        region_scales: Sizes of the colour regions (``ops.regions``).
        min_region: Side of the smallest region, in patches.
        region_weight: 0 keeps the filtered shares, 1 takes the regions' means.
        smoothing: Reach of the last guided filter, in pixels of the reduced copy.
    """

    max_classes: int = 32
    working_pixels: int = 320 * 240
    sharpness: float = 6.0
    radius: float = 1.0
    flat_variance: float = 1e-3
    region_scales: tuple[float, ...] = (0.5, 1.0, 2.0)
    min_region: float = 0.5
    region_weight: float = 0.7
    smoothing: int = 4


_DEFAULT = RefineSettings()
# A photograph whose channels all vary less than this (one step of 8 bits) shows no edges to follow.
_NO_CONTRAST = 1.5 / 255


@torch.inference_mode()
def refine_labels(
    scores: Float[Tensor, "K h w"],
    image: UInt8[np.ndarray, "H W 3"],
    settings: RefineSettings = _DEFAULT,
) -> RunningBest:
    """Label every pixel of the photograph with one of the classes that win somewhere on the grid.

    Args:
        scores: Class scores on the encoder's grid, which covers the whole image; any scale and
            offset (only differences between classes count, in units of their own spread).
        image: The photograph, RGB, 0..255, at its original size.
        settings: See there; the defaults are what is reported.

    Returns:
        Labels that index ``scores``, at the size of the photograph, and for each pixel the plainly
        resized score of its label, on the scale of ``scores``. An image without contrast, or one class,
        gives the plain resize.
    """
    size = (image.shape[0], image.shape[1])
    scores = scores.float().cpu()
    winners = _winning_classes(scores, settings.max_classes)
    working = _working_size(size, settings.working_pixels)
    picture = rearrange(resize_image(image, working), "c h w -> h w c").contiguous().numpy()
    if len(winners) == 1 or np.ptp(picture, axis=(0, 1)).max() < _NO_CONTRAST:
        return resize_argmax(scores, size)
    num_patches = scores.shape[1] * scores.shape[2]
    patch = (working[0] * working[1] / num_patches) ** 0.5  # its side in working pixels
    shares = _filtered_shares(_standardised(scores[winners]), image, picture, patch, settings)
    cuts = colour_regions(picture, settings.region_scales, min_size=int((settings.min_region * patch) ** 2))
    shares += np.float32(settings.region_weight) * (region_means(shares, cuts) - shares)
    shares = guided_filter(
        shares, picture, picture, radius=settings.smoothing, epsilon=settings.flat_variance
    )
    found = resize_argmax(torch.from_numpy(rearrange(shares, "h w k -> k h w")), size)
    labels = winners.numpy().astype(np.uint16)[found.labels]
    return RunningBest(labels=labels, best=scores_at(scores, labels))


def _winning_classes(scores: Float[Tensor, "K h w"], max_classes: int) -> Tensor:
    """List the classes that win a patch, in label order; the most frequent if there are too many."""
    patches = scores.argmax(dim=0).flatten().bincount(minlength=scores.shape[0])
    most = patches.argsort(descending=True, stable=True)[:max_classes]
    return most[patches[most] > 0].sort().values


def _working_size(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    factor = min(1.0, (pixels / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _standardised(scores: Float[Tensor, "K h w"]) -> Float[Tensor, "K h w"]:
    """Subtract each patch's mean over classes and divide by the spread over all patches."""
    centred = scores - scores.mean(dim=0)
    return centred / centred.square().mean().sqrt().clamp(min=torch.finfo(scores.dtype).tiny)


def _filtered_shares(
    scores: Float[Tensor, "K h w"],
    image: UInt8[np.ndarray, "H W 3"],
    picture: Float32[np.ndarray, "y x 3"],
    patch: float,
    settings: RefineSettings,
) -> Float32[np.ndarray, "y x K"]:
    """Softmax over classes, then the guided filter, fitted at half the working size."""
    small = (max(1, picture.shape[0] // 2), max(1, picture.shape[1] // 2))
    shares = (settings.sharpness * resize_scores(scores[None], small)[0]).softmax(dim=0)
    return guided_filter(
        rearrange(shares, "k h w -> h w k").contiguous().numpy(),
        rearrange(resize_image(image, small), "c h w -> h w c").contiguous().numpy(),
        picture,
        radius=max(1, round(settings.radius * patch / 2)),
        epsilon=settings.flat_variance,
    )
