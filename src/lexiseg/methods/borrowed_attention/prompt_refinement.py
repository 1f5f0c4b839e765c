"""Trident's second pass: pieces of a coarse label map are drawn again by SAM, told their box, their surest point and their map.

Shi et al., "Harnessing Vision Foundation Models for High-Performance, Training-Free Open Vocabulary Segmentation", 2024.
Written from a description. What multiplies a mask is taken to be the class's probability at the pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from lexiseg.models.prompted_masks import ImageEmbeddings

#: The paper's: pixels of a piece at half the image's size, SAM's expected IoU, and the factor of its mask prompt.
MIN_PIXELS, MIN_EXPECTED_IOU, MASK_FACTOR = 225, 0.8, 0.005
_EIGHT = np.ones((3, 3), bool)


@runtime_checkable
class DrawsPieces(Protocol):
    """What is asked of SAM: ``models.sam.Sam``."""

    def predict_piece(
        self, embedded: ImageEmbeddings, point: Tensor, corners: Tensor, probability: Tensor
    ) -> tuple[Tensor, float]:
        """Predict one mask under a point, a box and a map together."""

    def upsample(self, logits: Tensor, embedded: ImageEmbeddings) -> Tensor:
        """Upsample logits to the image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A connected part of one class.

    Attributes:
        place: Index of the class.
        box: Left, top, right, bottom, in pixels of the map.
        point: Where the class is most probable in it, x and y.
    """

    place: int
    box: tuple[int, int, int, int]
    point: tuple[int, int]


def find_pieces(
    probabilities: Float[Tensor, "C h w"], *, least: float, min_pixels: int = MIN_PIXELS
) -> Iterator[Piece]:
    """Find the 8-connected pieces of the map of most probable classes, class by class.

    Args:
        probabilities: Of the classes.
        least: A piece counts whose class reaches this probability in it.
        min_pixels: And which has so many pixels.
    """
    labels = probabilities.argmax(dim=0).cpu().numpy()
    for place in np.unique(labels).tolist():
        own = probabilities[place].cpu().numpy()
        pieces, _ = ndimage.label(labels == place, structure=_EIGHT)
        for number, slices in enumerate(ndimage.find_objects(pieces), start=1):
            inside = pieces[slices] == number
            values = np.where(inside, own[slices], -1)
            if inside.sum() < min_pixels or values.max() < least:
                continue
            rows, columns = slices
            y, x = np.unravel_index(int(values.argmax()), values.shape)
            yield Piece(
                place=place,
                box=(columns.start, rows.start, columns.stop - 1, rows.stop - 1),
                point=(int(x) + columns.start, int(y) + rows.start),
            )


def redraw(
    sam: DrawsPieces, embedded: ImageEmbeddings, probabilities: Float[Tensor, "C h w"], *, least: float
) -> tuple[Int64[Tensor, "h w"], Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Draw pieces again; a pixel of several masks takes the class whose mask times probability is largest.

    Args:
        sam: Draws.
        embedded: The image.
        probabilities: Of the classes, at half the image's size.
        least: See ``find_pieces``; mask prompts are zero below it.

    Returns:
        Class, its mask times its probability, and where there is a mask at all; elsewhere the first two say nothing.
    """
    size = (probabilities.shape[1], probabilities.shape[2])
    best = probabilities.new_zeros(size)
    places = torch.zeros(size, dtype=torch.long, device=best.device)
    drawn = torch.zeros(size, dtype=torch.bool, device=best.device)
    scale = best.new_tensor([embedded.size[1] / size[1], embedded.size[0] / size[0]])
    for piece in find_pieces(probabilities, least=least):
        own = probabilities[piece.place]
        point = (best.new_tensor(piece.point) + 0.5) * scale
        left, top, right, bottom = piece.box
        corners = best.new_tensor([[left, top], [right + 1, bottom + 1]]) * scale
        prompt = MASK_FACTOR * own.where(own >= least, 0)
        logits, expected_iou = sam.predict_piece(embedded, point, corners, prompt)
        if expected_iou <= MIN_EXPECTED_IOU:
            continue
        mask = interpolate(
            sam.upsample(logits[None], embedded)[None], size=size, mode="bilinear", align_corners=False
        )[0, 0]
        value = mask.sigmoid() * own
        is_better = (mask > 0) & (value > best)
        best, drawn = value.where(is_better, best), drawn | is_better
        places = torch.where(is_better, piece.place, places)
    return places, best, drawn
