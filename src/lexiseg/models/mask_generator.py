"""Propose masks with SAM: a grid of points, of whose answers the good and stable ones stay.

SAM's automatic mask generator (Kirillov et al., "Segment Anything", ICCV 2023), written anew without
torchvision; the defaults are those of the authors' library, tuned for ViT-H.

Differences from the authors' library: no crop layers (none is its default too) and no filling of small
holes (likewise); boxes count whole pixels; answers below the expected IoU are dropped before they are
upsampled, which changes nothing but the time; and masks are upsampled a few at a time, as many as
``upsample_bytes`` allow, once to be judged and once more if they are still there after suppression. In between they
are kept as the network gives them: 256 KiB each, at most 0.8 GB for 32 points a side whatever the image's size.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int32, UInt8
from torch import Tensor

from lexiseg.core.interfaces import MaskProposer
from lexiseg.core.masks import Masks
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.models.prompted_masks import ImageEmbeddings, PromptedMasks
from lexiseg.ops.box_suppression import suppress_boxes

_RANGES = {
    "points_per_side": Range(least=1),
    "points_per_batch": Range(least=1),
    "min_expected_iou": Range(least=-10, most=10),  # what SAM expects is no share: it may leave [0, 1]
    "min_stability": Range(least=0, most=2),  # above 1, no mask is good
    "stability_offset": Range(least=0),
    "max_box_iou": Range(least=0, most=1),
    "upsample_bytes": Range(least=1),
}


@dataclass(frozen=True, kw_only=True)
class MaskGeneratorSettings:
    """The defaults of SAM's own generator.

    Attributes:
        points_per_side: Number of points along one side of the grid, at cell centres.
        points_per_batch: Number of prompts predicted together; memory grows with it.
        min_expected_iou: Smallest IoU that SAM expects of a mask that is kept, exclusive; None for the limit of the
            network's authors, 0.88 for SAM and 0.8 for SAM 2.
        min_stability: Smallest IoU between the masks cut ``stability_offset`` above and below zero.
        stability_offset: Offset of the two cuts in logits.
        max_box_iou: Largest IoU of the boxes of two kept masks: non-maximum suppression by expected IoU.
        upsample_bytes: Largest memory of the masks upsampled together, about, in bytes; one always fits.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    min_expected_iou: float | None = None
    min_stability: float = 0.95
    stability_offset: float = 1.0
    max_box_iou: float = 0.7
    upsample_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the mask generator")


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Masks of some prompts that passed the filters."""

    logits: Float[Tensor, "M h w"]
    boxes: Int32[np.ndarray, "M 4"]
    scores: Float32[np.ndarray, " M"]


class MaskGenerator(MaskProposer):
    """All masks SAM finds in an image; they overlap, and parts come beside wholes.

    Args:
        network: SAM or SAM 2.
        settings: Grid and filters.
    """

    def __init__(self, network: PromptedMasks, settings: MaskGeneratorSettings | None = None) -> None:
        super().__init__()
        self.network = network
        self.settings = settings or MaskGeneratorSettings()

    @torch.inference_mode()
    def propose(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        """Cut one RGB image; scores are the expected IoUs, best first. No mask at all is an answer."""
        settings = self.settings
        embedded = self.network.embed(image)
        points = _grid(settings.points_per_side, embedded.size)
        kept = [self._filtered(embedded, batch) for batch in torch.split(points, settings.points_per_batch)]
        boxes = np.concatenate([part.boxes for part in kept])
        scores = np.concatenate([part.scores for part in kept])
        logits = torch.cat([part.logits for part in kept])
        stay = suppress_boxes(boxes, scores, max_iou=settings.max_box_iou)
        masks = np.empty((len(stay), *embedded.size), np.bool_)
        for begin in range(0, len(stay), at_once := self._at_once(embedded)):
            some = torch.from_numpy(stay[begin : begin + at_once]).to(logits.device)
            masks[begin : begin + at_once] = (self.network.upsample(logits[some], embedded) > 0).cpu().numpy()
        return Masks(masks=masks, scores=scores[stay])

    def _filtered(self, embedded: ImageEmbeddings, points: Float[Tensor, "P 1 2"]) -> _Kept:
        """Answer some prompts and keep what is good and stable."""
        logits, expected = self.network.predict(embedded, points, multimask_output=True)
        limit = self.settings.min_expected_iou
        good = expected > (self.network.min_expected_iou if limit is None else limit)
        logits, scores = logits[good], expected[good].float()
        # One mask at a time would do: what is upsampled is judged, and only its box stays.
        judged = [
            self._judge(part, embedded) for part in torch.split(logits, self._at_once(embedded)) if len(part)
        ]
        if not judged:
            return _Kept(logits=logits, boxes=np.zeros((0, 4), np.int32), scores=np.zeros(0, np.float32))
        stay = torch.cat([stable for stable, _ in judged])
        return _Kept(
            logits=logits[stay],
            boxes=np.concatenate([boxes for _, boxes in judged]),
            scores=scores[stay].cpu().numpy(),
        )

    def _judge(
        self, logits: Float[Tensor, "P h w"], embedded: ImageEmbeddings
    ) -> tuple[Bool[Tensor, " P"], Int32[np.ndarray, "M 4"]]:
        """Return which masks are stable and not empty at the size of the image, and the boxes of those."""
        settings = self.settings
        maps = self.network.upsample(logits, embedded)
        inner = (maps > settings.stability_offset).sum((1, 2))
        outer = (maps > -settings.stability_offset).sum((1, 2))
        stable = (inner >= settings.min_stability * outer) & (outer > 0)
        # A stable mask may still be empty where every logit lies between zero and the offset.
        masks = maps > 0
        stable &= masks.any(2).any(1)
        return stable, Masks(masks=masks[stable].cpu().numpy()).boxes

    def _at_once(self, embedded: ImageEmbeddings) -> int:
        """Return how many masks may be upsampled together: two maps of the image and one of the network's square."""
        pixels = 2 * embedded.size[0] * embedded.size[1] + self.network.input_side**2
        return max(1, self.settings.upsample_bytes // (4 * pixels))


def _grid(per_side: int, size: tuple[int, int]) -> Float[Tensor, "P 1 2"]:
    """Return x and y of the centres of ``per_side`` by ``per_side`` cells, row by row."""
    centres = (torch.arange(per_side) + 0.5) / per_side
    y, x = torch.meshgrid(centres * size[0], centres * size[1], indexing="ij")
    return torch.stack([x.reshape(-1, 1), y.reshape(-1, 1)], dim=2)
