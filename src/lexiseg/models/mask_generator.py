"""Propose masks with SAM: a grid of points, of whose answers the good and stable ones stay.

SAM's automatic mask generator (Kirillov et al., "Segment Anything", ICCV 2023), written anew without
torchvision; the defaults are those of the authors' library, tuned for ViT-H.

Differences from the authors' library: no crop layers (none is its default too) and no filling of small
holes (likewise); boxes count whole pixels; answers below the expected IoU are dropped before they are
enlarged, which changes nothing but the time; and kept masks are packed, eight pixels a byte, until it is
known which stay.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, UInt8
from torch import Tensor

from lexiseg.core.interfaces import MaskProposer
from lexiseg.core.masks import Masks
from lexiseg.models.prompted_masks import ImageEmbeddings, PromptedMasks
from lexiseg.ops.box_suppression import suppress_boxes


@dataclass(frozen=True, kw_only=True)
class MaskGeneratorSettings:
    """The defaults of SAM's own generator.

    Attributes:
        points_per_side: Number of points along one side of the grid, at cell centres.
        points_per_batch: Number of prompts predicted together; memory grows with it.
        min_expected_iou: Smallest IoU that SAM expects of a mask that is kept, exclusive.
        min_stability: Smallest IoU between the masks cut ``stability_offset`` above and below zero.
        stability_offset: Offset of the two cuts in logits.
        max_box_iou: Largest IoU of the boxes of two kept masks: non-maximum suppression by expected IoU.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    min_expected_iou: float = 0.88
    min_stability: float = 0.95
    stability_offset: float = 1.0
    max_box_iou: float = 0.7


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Masks of some prompts that passed the filters."""

    packed: UInt8[np.ndarray, "M H bytes"]
    boxes: Int32[np.ndarray, "M 4"]
    scores: Float32[np.ndarray, " M"]


class MaskGenerator(MaskProposer):
    """All masks SAM finds in a picture; they overlap, and parts come beside wholes.

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
        """Cut one RGB picture; scores are the expected IoUs, best first. No mask at all is an answer."""
        settings = self.settings
        embedded = self.network.embed(image)
        points = _grid(settings.points_per_side, embedded.size)
        kept = [self._filtered(embedded, batch) for batch in torch.split(points, settings.points_per_batch)]
        boxes = np.concatenate([part.boxes for part in kept])
        scores = np.concatenate([part.scores for part in kept])
        packed = np.concatenate([part.packed for part in kept])
        stay = suppress_boxes(boxes, scores, max_iou=settings.max_box_iou)
        masks = np.unpackbits(packed[stay], axis=2, count=embedded.size[1]).view(np.bool_)
        return Masks(masks=masks, scores=scores[stay])

    def _filtered(self, embedded: ImageEmbeddings, points: Float[Tensor, "P 1 2"]) -> _Kept:
        """Answer some prompts and keep what is good and stable."""
        settings = self.settings
        logits, expected = self.network.predict(embedded, points, multimask_output=True)
        good = expected > settings.min_expected_iou
        maps = self.network.upsample(logits[good], embedded)
        inner = (maps > settings.stability_offset).sum((1, 2))
        outer = (maps > -settings.stability_offset).sum((1, 2))
        stable = (inner >= settings.min_stability * outer) & (outer > 0)
        masks = maps[stable] > 0
        # A stable mask may still be empty where every logit lies between zero and the offset.
        some = masks.any(2).any(1)
        masks, scores = masks[some], expected[good][stable][some].float()
        dense = masks.cpu().numpy()
        return _Kept(
            packed=np.packbits(dense, axis=2),
            boxes=Masks(masks=dense).boxes,
            scores=scores.cpu().numpy(),
        )


def _grid(per_side: int, size: tuple[int, int]) -> Float[Tensor, "P 1 2"]:
    """Return x and y of the centres of ``per_side`` by ``per_side`` cells, row by row."""
    centres = (torch.arange(per_side) + 0.5) / per_side
    y, x = torch.meshgrid(centres * size[0], centres * size[1], indexing="ij")
    return torch.stack([x.reshape(-1, 1), y.reshape(-1, 1)], dim=2)
