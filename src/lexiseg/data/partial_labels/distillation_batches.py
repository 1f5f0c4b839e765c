"""Batches for a distillation: images, masks of seen classes, and perhaps what the teacher says of the images."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64, UInt8, UInt16
from PIL import Image
from torch import Tensor

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.augmentation.labelled_crop import LabelledCrop, LabelledCropSettings, crop_with_labels
from lexiseg.data.labelled_dataset import add_to_digest
from lexiseg.data.partial_labels.seen_only import SeenOnly
from lexiseg.data.stepwise import StepwiseData
from lexiseg.data.teacher_features import TeacherFeatures

#: Grey of what is added beside an image: 128 of 255.
_PADDING = 128


@dataclass(frozen=True, kw_only=True)
class DistillationBatch(Batch):
    """A batch with what a teacher says of its images.

    Attributes:
        teacher_maps: Dense features, ``B D h w``; None where the teacher is to look itself.
        teacher_vectors: Of the images, ``B D``.
        truth: Labels of all classes of the data set, ``B H W``: for ablations only.
    """

    teacher_maps: Float[Tensor, "B D g1 g2"] | None = None
    teacher_vectors: Float[Tensor, "B D"] | None = None
    truth: Int64[Tensor, "B H W"] | None = None


@dataclass(frozen=True, kw_only=True)
class WholeImages:
    """Take all of an image, made as large as fits a square; the rest of the square is padding.

    Attributes:
        size: Side of the square.
        flip: Mirror every second image.
    """

    size: int
    flip: bool = True


class DistillationBatches:
    """A function of the step and the rows.

    Args:
        view: Where images and masks come from.
        pieces: Random squares, for a teacher that looks at each batch, or whole images.
        features: The teacher's, of whole images; None where it looks at each batch.
        batch_size: Images of a whole batch.
        seed: Of everything that is drawn.
        truth: Put the data set's own labels into the batch.
    """

    def __init__(
        self,
        view: SeenOnly,
        pieces: LabelledCropSettings | WholeImages,
        features: TeacherFeatures | None,
        *,
        batch_size: int,
        seed: int,
        truth: bool = False,
    ) -> None:
        assert features is None or isinstance(pieces, WholeImages), "features are of whole images"
        self.view, self.pieces, self.features = view, pieces, features
        self.batch_size, self.seed, self.truth = batch_size, seed, truth

    def __call__(self, step: int, start: int, stop: int) -> DistillationBatch:
        """Make rows ``start`` up to ``stop`` of the batch of a step."""
        rows = [self._row(step * self.batch_size + row) for row in range(start, stop)]
        read = [row.features for row in rows if row.features is not None]
        return DistillationBatch(
            images=torch.stack(
                [rearrange(torch.from_numpy(row.piece.image), "h w c -> c h w") for row in rows]
            ),
            sources=tuple(row.source for row in rows),
            label_maps=torch.stack([_as_tensor(row.piece.label_map) for row in rows]),
            padding=torch.from_numpy(np.stack([row.piece.padding for row in rows])),
            teacher_maps=torch.from_numpy(np.stack([maps for maps, _ in read])) if read else None,
            teacher_vectors=torch.from_numpy(np.stack([vector for _, vector in read])) if read else None,
            truth=torch.stack([_as_tensor(row.truth) for row in rows]) if self.truth else None,
        )

    def _row(self, number: int) -> "_Row":
        epoch, place = divmod(number, len(self.view))
        index = int(_order(self.seed, epoch, len(self.view))[place])
        rng = np.random.default_rng([self.seed, number])
        truth = None
        if self.truth:
            sample, truth = self.view.read_truth(index)
        else:
            sample = self.view[index]
        void = np.full(sample.image.shape[:2], IGNORE_INDEX, np.uint16)
        label_map = void if sample.label_map is None else sample.label_map
        if isinstance(self.pieces, LabelledCropSettings):
            assert truth is None, "the truth is given for whole images"
            piece = crop_with_labels(sample.image, label_map, self.pieces, rng)
            return _Row(piece, str(sample.source), None, void)
        flipped = self.pieces.flip and rng.random() < 0.5
        piece = fit_square(sample.image, label_map, self.pieces.size, flipped=flipped)
        true_labels = fit_square(
            sample.image, void if truth is None else truth, self.pieces.size, flipped=flipped
        )
        features = None if self.features is None else self.features.read(index, flipped=flipped)
        return _Row(piece, str(sample.source), features, true_labels.label_map)


class _Row(NamedTuple):
    piece: LabelledCrop
    source: str
    features: tuple[np.ndarray, np.ndarray] | None
    truth: np.ndarray


def fit_square(
    image: UInt8[np.ndarray, "H W 3"], label_map: UInt16[np.ndarray, "H W"], size: int, *, flipped: bool
) -> LabelledCrop:
    """Resize an image so that its long side is ``size``, with its label map by the nearest pixels.

    What is missing to a square is added on the right and below, grey and void, also in a mirrored image: an
    image and its mirror image lie in the same corner.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    rows, columns = (max(1, round(side * scale)) for side in (height, width))
    resized, labels = image, label_map
    if (rows, columns) != (height, width):
        resized = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
        labels = label_map[_nearest(rows, height)[:, None], _nearest(columns, width)]
    if flipped:
        resized, labels = resized[:, ::-1], labels[:, ::-1]
    square = np.full((size, size, 3), _PADDING, np.uint8)
    square_labels = np.full((size, size), IGNORE_INDEX, np.uint16)
    padding: Bool[np.ndarray, "S S"] = np.ones((size, size), bool)
    square[:rows, :columns], square_labels[:rows, :columns] = resized, labels
    padding[:rows, :columns] = False
    return LabelledCrop(square, square_labels, padding)


def distillation_data(
    view: SeenOnly,
    pieces: LabelledCropSettings | WholeImages,
    features: TeacherFeatures | None,
    *,
    batch_size: int,
    seed: int,
    truth: bool = False,
    facts: Mapping[str, Any],
) -> StepwiseData:
    """Make the training data of a view.

    Args:
        view: Where images and masks come from.
        pieces: What becomes of an image.
        features: The teacher's.
        batch_size: Images of a whole batch.
        seed: Of everything that is drawn.
        truth: Put the data set's own labels into the batch.
        facts: What a person reading the run should know besides.
    """
    drawn = {"pieces": repr(pieces), "seed": seed, "batch_size": batch_size, "truth": truth}
    digest = hashlib.sha256()
    add_to_digest(digest, b"view", view.fingerprint().encode())
    add_to_digest(digest, b"teacher", (features.fingerprint if features else "looks itself").encode())
    add_to_digest(digest, b"drawn", repr(sorted(drawn.items())).encode())
    batches = DistillationBatches(view, pieces, features, batch_size=batch_size, seed=seed, truth=truth)
    return StepwiseData(
        batches,
        batch_size=batch_size,
        fingerprint=digest.hexdigest(),
        facts={**drawn, "images": len(view), "seen_classes": len(view.names), **facts},
        files=view.files(),
    )


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_images: int) -> Int64[np.ndarray, " N"]:
    return np.random.default_rng([seed, epoch]).permutation(num_images)


def _nearest(wanted: int, size: int) -> Int64[np.ndarray, " N"]:
    return (2 * np.arange(wanted) + 1) * size // (2 * wanted)


def _as_tensor(label_map: UInt16[np.ndarray, "H W"]) -> Int64[Tensor, "H W"]:
    return torch.from_numpy(label_map.astype(np.int64))
