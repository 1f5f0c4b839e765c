"""Move label borders from the encoder's coarse grid to the edges of the photograph.

An encoder gives one score per patch of 16 or 32 pixels, so that a resized label map has soft, wavy
borders that ignore the image. ``refine_labels`` takes the classes that win somewhere on the grid,
turns their scores into shares, and

1. filters the shares along the image's edges over about one patch (``ops.guided_filter``),
2. draws each pixel towards the mean of its colour region, over two sizes of regions
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
from torch.nn.functional import adaptive_avg_pool2d

from lexiseg.core.label_maps import relabel
from lexiseg.data.transforms import resize_image
from lexiseg.ops.guided_filter import guided_filter
from lexiseg.ops.regions import colour_regions, region_means
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_scores, scores_at


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """How far and how strongly borders follow the image; lengths in patches, so grids of any stride do.

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
    region_scales: tuple[float, ...] = (0.7, 1.8)
    min_region: float = 0.5
    region_weight: float = 0.7
    smoothing: int = 4


_DEFAULT = RefineSettings()
# A photograph whose channels all vary less than this (one step of 8 bits) shows no edges to follow.
NO_CONTRAST = 1.5 / 255


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
    winners = winning_classes(scores, settings.max_classes)
    working = working_size(size, settings.working_pixels)
    half = (max(1, working[0] // 2), max(1, working[1] // 2))
    photo, half_image = _reduced(image, working), _reduced(image, half)
    if len(winners) == 1 or np.ptp(photo, axis=(0, 1)).max() < NO_CONTRAST:
        return resize_argmax(scores, size)
    num_patches = scores.shape[1] * scores.shape[2]
    patch = (working[0] * working[1] / num_patches) ** 0.5  # its side in pixels of the reduced copy

    def filtered(shares: Float[Tensor, "K y x"], radius: float) -> Float32[np.ndarray, "Y X K"]:
        maps = rearrange(shares, "k y x -> y x k").contiguous().numpy()
        reach = max(1, round(radius))
        return guided_filter(maps, half_image, photo, radius=reach, epsilon=settings.flat_variance)

    fine = resize_scores(standardised(scores[winners])[None], half)[0]
    shares = filtered((settings.sharpness * fine).softmax(dim=0), settings.radius * patch / 2)
    cuts = colour_regions(photo, settings.region_scales, min_size=int((settings.min_region * patch) ** 2))
    shares += np.float32(settings.region_weight) * (region_means(shares, cuts) - shares)
    shares = filtered(adaptive_avg_pool2d(_classes_first(shares), half), settings.smoothing / 2)
    found = resize_argmax(_classes_first(shares), size)
    labels = relabel(found.labels, winners.numpy().astype(np.uint16))
    return RunningBest(labels=labels, best=scores_at(scores, labels, into=found.best))


def winning_classes(scores: Float[Tensor, "K h w"], max_classes: int) -> Tensor:
    """List the classes that win a patch, in label order; the most frequent if there are too many."""
    patches = scores.argmax(dim=0).flatten().bincount(minlength=scores.shape[0])
    most = patches.argsort(descending=True, stable=True)[:max_classes]
    return most[patches[most] > 0].sort().values


def working_size(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """Return the size of a reduced copy with at most so many pixels and the same aspect."""
    factor = min(1.0, (pixels / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def standardised(scores: Float[Tensor, "K h w"]) -> Float[Tensor, "K h w"]:
    """Subtract each patch's mean over classes and divide by the spread over all patches."""
    centred = scores - scores.mean(dim=0)
    return centred / centred.square().mean().sqrt().clamp(min=torch.finfo(scores.dtype).tiny)


def _reduced(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> Float32[np.ndarray, "y x 3"]:
    return rearrange(resize_image(image, size), "c y x -> y x c").contiguous().numpy()


def _classes_first(maps: Float32[np.ndarray, "y x K"]) -> Float[Tensor, "K y x"]:
    return rearrange(torch.from_numpy(maps), "y x k -> k y x")
