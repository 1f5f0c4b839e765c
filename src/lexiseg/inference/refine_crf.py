"""Move label borders to the edges of the photograph with a dense CRF, in place of ``inference.refine``.

The same classes, shares and reduced copy of the photograph as there; between them works a fully connected
CRF (``ops.dense_crf``). By the numbers in ``benchmarks/accuracy/refinement.md`` about as good, and slower; it
is here because published methods report results with one.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from lexiseg.core.label_maps import relabel
from lexiseg.data.transforms import resize_image
from lexiseg.inference.refine import NO_CONTRAST, standardised, winning_classes, working_size
from lexiseg.ops.dense_crf import CrfSettings, DenseCrf
from lexiseg.ops.resize import RunningBest, resize_argmax, resize_scores, scores_at

_CRF = CrfSettings(gaussian_std=2.0, colour_std=8.0, num_steps=5)


@dataclass(frozen=True, kw_only=True)
class RefineCrfSettings:
    """How far and how strongly labels follow the image; lengths in patches, so grids of any stride do.

    Attributes:
        max_classes: Only so many classes take part, those that win most patches.
        working_pixels: Size of the reduced copy of the photograph; half of 640 x 480 each way.
        sharpness: Multiplies the scores, in units of their spread over classes, before softmax.
        bilateral_std: Reach of the kernel of positions and colours, in patches.
        crf: Everything else; its own ``bilateral_std`` is not used.
    """

    max_classes: int = 32
    working_pixels: int = 320 * 240
    sharpness: float = 3.0
    bilateral_std: float = 2.0
    crf: CrfSettings = _CRF


_DEFAULT = RefineCrfSettings()


@torch.inference_mode()
def refine_labels_crf(
    scores: Float[Tensor, "K h w"],
    image: UInt8[np.ndarray, "H W 3"],
    settings: RefineCrfSettings = _DEFAULT,
) -> RunningBest:
    """Label every pixel of the photograph with one of the classes that win somewhere on the grid.

    Args:
        scores: Class scores on the encoder's grid, which covers the whole image; any scale and
            offset (only differences between classes count, in units of their own spread).
        image: The photograph, RGB, 0..255, at its original size.
        settings: See there; the defaults are what is reported.

    Returns:
        As ``refine_labels``: labels that index ``scores``, and for each pixel the plainly resized score
        of its label. An image without contrast, or one class, gives the plain resize.
    """
    size = (image.shape[0], image.shape[1])
    scores = scores.float().cpu()
    winners = winning_classes(scores, settings.max_classes)
    working = working_size(size, settings.working_pixels)
    photo = _reduced(image, working)
    if len(winners) == 1 or np.ptp(photo, axis=(0, 1)).max() < 255 * NO_CONTRAST:
        return resize_argmax(scores, size)
    patch = (working[0] * working[1] / (scores.shape[1] * scores.shape[2])) ** 0.5
    fine = resize_scores(standardised(scores[winners])[None], working)[0]
    unary = -(settings.sharpness * fine).log_softmax(dim=0)
    crf = DenseCrf(photo, replace(settings.crf, bilateral_std=settings.bilateral_std * patch))
    shares = crf.infer(unary.numpy())
    found = resize_argmax(torch.from_numpy(shares), size)
    labels = relabel(found.labels, winners.numpy().astype(np.uint16))
    return RunningBest(labels=labels, best=scores_at(scores, labels, into=found.best))


def _reduced(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "y x 3"]:
    pixels = (255 * resize_image(image, size)).round().clamp(0, 255).to(torch.uint8)
    return rearrange(pixels, "c y x -> y x c").contiguous().numpy()
