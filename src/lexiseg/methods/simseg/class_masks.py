"""From scores to a label map: which classes are in an image, where each is, and who gets an overlap.

docs/methods/simseg.md has the steps; SimSeg (CVPR 2023) does not state them in full, they are a reconstruction.
"""

from collections.abc import Sequence

import numpy as np
from einops import repeat
from jaxtyping import Bool, Float32, Shaped
from scipy.ndimage import binary_dilation, binary_erosion

from lexiseg.methods.simseg.settings import MaskSettings
from lexiseg.ops.resize import RunningBest


def present_classes(
    scores: Float32[np.ndarray, " K"], background: int | None, settings: MaskSettings
) -> list[int]:
    """Choose the classes of an image by its own scores, the best first.

    The threshold is the mean and a standard deviation (over n - 1) of the largest scores, background's among
    them. A score on the threshold stays; where all are equal nothing is refused. Of
    two scores none could ever pass, so that fewer than three have no threshold (ours).

    Args:
        scores: Score of every class, background too.
        background: Takes a place among the best and is no class of the image.
        settings: How many scores are compared and how many classes an image has at most.
    """
    best = np.argsort(-scores, kind="stable")
    compared = scores[best[: settings.threshold_top_k]].astype(np.float64)
    threshold = -np.inf
    if len(compared) > 2 and np.ptp(compared) > 0:
        threshold = compared.mean() + settings.num_std * compared.std(ddof=1)
    found = []
    for label in best[: settings.max_classes]:
        if label == background:
            continue
        if scores[label] < threshold:
            break
        found.append(int(label))
    return found


def scale_map(scores: Float32[np.ndarray, "M h w"]) -> Float32[np.ndarray, "M h w"]:
    """Stretch each map to [0, 1]; a constant one becomes zero."""
    lowest = scores.min((1, 2), keepdims=True)
    reach = scores.max((1, 2), keepdims=True) - lowest
    return np.divide(scores - lowest, reach, out=np.zeros_like(scores), where=reach > 0)


def upsample_nearest(maps: np.ndarray, times: int) -> np.ndarray:
    """Repeat every cell of maps ``M h w`` ``times`` times both ways."""
    return repeat(maps, "m h w -> m (h p) (w q)", p=times, q=times)


def close_mask(mask: Bool[np.ndarray, "H W"], settings: MaskSettings) -> Bool[np.ndarray, "H W"]:
    """Grow a mask by a square, then shrink it again; beyond the border nothing is eaten away."""
    square = np.ones((settings.closing, settings.closing), bool)
    if settings.dilations:
        mask = binary_dilation(mask, square, settings.dilations)
    if settings.erosions:
        mask = binary_erosion(mask, square, settings.erosions, border_value=1)
    return mask


def paste_masks(
    masks: Bool[np.ndarray, "M H W"],
    labels: Sequence[int],
    scores: Sequence[float],
    into: RunningBest,
) -> None:
    """Paint masks, in place; where several overlap, the largest score wins, and of equal ones the first."""
    for place in sorted(range(len(labels)), key=lambda place: (scores[place], -place)):
        into.labels[masks[place]] = labels[place]
        into.best[masks[place]] = scores[place]


def resize_nearest(values: Shaped[np.ndarray, "h w"], size: tuple[int, int]) -> Shaped[np.ndarray, "H W"]:
    """Resize a mask or a map by the nearest pixel centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size, values.shape, strict=True)
    )
    return values[np.ix_(rows, columns)]
