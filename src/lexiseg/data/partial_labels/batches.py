"""Batches for weak-shot training: pairs of crops, masks of seen classes, tags of the others.

Which image is compared with which: Chen et al., NeurIPS 2022, pair an image with one that shares exactly one
unseen class. Of two classes that always come together, no image says which is which, but a third image that
has only one of them does.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Int64, UInt8, UInt16
from torch import Tensor

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.labelled_dataset import add_to_digest
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.data.stepwise import StepwiseData

#: How often the class with the fewest partners is taken instead of a random one.
MIXING = 0.01

Pairing = Literal["deconfounded", "released", "random"]


class PairingTable:
    """Draw a partner for an image. The candidates are found when asked for: N·K comparisons, no N² table.

    The release keeps lists of at most 500 and 50 candidates; here nothing is cut off.

    Args:
        tags: Unseen classes of each image.
        with_mask: Seen classes of each image.
        num_classes: Size of the vocabulary.
        pairing: ``deconfounded``: through a random unseen class, with an image that shares exactly this
            one if there is any, else one that shares it among others; images without unseen tags through
            a seen class. ``released``: the published code, which pairs an image with one single unseen tag
            through its seen classes, and a class without such a partner with itself. ``random``: any
            other image.
        mixing: How often ``deconfounded`` and ``released`` take the class with the fewest partners.
    """

    def __init__(
        self,
        tags: Sequence[frozenset[int]],
        with_mask: Sequence[frozenset[int]],
        num_classes: int,
        *,
        pairing: Pairing = "deconfounded",
        mixing: float = MIXING,
    ) -> None:
        self.tags, self.pairing, self.mixing = tags, pairing, mixing
        self._tagged = _table(tags, num_classes)
        self._masked = _table(with_mask, num_classes)

    def draw(self, index: int, rng: np.random.Generator) -> int:
        """Draw the partner of an image; the image itself where there is none."""
        if self.pairing == "random":
            others = np.arange(len(self.tags) - 1)
            return _one_of(others + (others >= index), index, rng)
        classes = sorted(self.tags[index])
        shared = (self._tagged & self._tagged[index]).sum(axis=1)
        shared[index] = 0
        if len(classes) >= 2 or (classes and self.pairing == "deconfounded"):
            partners = {label: np.flatnonzero((shared == 1) & self._tagged[:, label]) for label in classes}
            return self._through_unseen(index, partners, shared, rng)
        return self._through_seen(index, rng)

    def _through_unseen(
        self, index: int, partners: dict[int, np.ndarray], shared: np.ndarray, rng: np.random.Generator
    ) -> int:
        usable = [label for label, found in partners.items() if len(found)]
        if not usable:
            if self.pairing == "released":
                return index
            sharing = np.flatnonzero(shared)
            return _one_of(sharing, index, rng) if len(sharing) else self._through_seen(index, rng)
        if rng.random() < self.mixing:
            label = min(usable, key=lambda each: len(partners[each]))
        else:
            label = int(rng.choice(usable if self.pairing == "deconfounded" else sorted(partners)))
        return _one_of(partners[label], index, rng)

    def _through_seen(self, index: int, rng: np.random.Generator) -> int:
        sharing = (self._masked & self._masked[index]).any(axis=1)
        sharing[index] = False
        return _one_of(np.flatnonzero(sharing), index, rng)


def _table(classes: Sequence[frozenset[int]], num_classes: int) -> Bool[np.ndarray, "N K"]:
    table = np.zeros((len(classes), num_classes), bool)
    for row, labels in enumerate(classes):
        table[row, list(labels)] = True
    return table


def _one_of(candidates: np.ndarray, otherwise: int, rng: np.random.Generator) -> int:
    return int(rng.choice(candidates)) if len(candidates) else otherwise


#: How often a crop that shows no label is drawn again.
MAX_CROPS = 50


#: Image, label map of its size and a source of chance, to a random piece of both (of one size for all
#: images) and where that piece is no part of the image.
Crop = Callable[
    [UInt8[np.ndarray, "H W 3"], UInt16[np.ndarray, "H W"], np.random.Generator],
    tuple[UInt8[np.ndarray, "h w 3"], UInt16[np.ndarray, "h w"], Bool[np.ndarray, "h w"]],
]


def whole_image(
    image: UInt8[np.ndarray, "H W 3"], label_map: UInt16[np.ndarray, "H W"], rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt16[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Take all of an image, half of the time flipped: a ``Crop`` for images of one size."""
    if rng.random() < 0.5:
        image, label_map = image[:, ::-1], label_map[:, ::-1]
    return image.copy(), label_map.copy(), np.zeros(label_map.shape, bool)


@dataclass(frozen=True, kw_only=True)
class WeakShotSettings:
    """What a batch is made of.

    Attributes:
        presence: Scope of tags: the whole ``image``, as people give them, or the ``crop`` (only unseen
            classes that are in it, which needs their masks, as the paper's release does).
        pairing: Rule by which an image gets its partner: ``deconfounded`` through a random unseen class,
            ``released`` as the published code does, ``random`` any image; see ``PairingTable``.
        mixing: Probability that the class with the fewest partners is taken instead of a random one, in [0,
            1].
        truth: Put the true label maps of unseen classes into the batch (``TruthBatch``). For ablations only:
            training is then not weak-shot any more.
    """

    presence: Literal["image", "crop"] = "image"
    pairing: Pairing = "deconfounded"
    mixing: float = MIXING
    truth: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, {"mixing": Range(least=0, most=1)}, method="weak-shot batches")

    @property
    def needs_truth(self) -> bool:
        """Return whether the data must give the masks of unseen classes (``gives_truth``)."""
        return self.presence == "crop" or self.truth


@dataclass(frozen=True, kw_only=True)
class TruthBatch(Batch):
    """A batch that also holds what weak-shot training must not see.

    Attributes:
        truth: Labels of seen and unseen classes, ``B H W``.
    """

    truth: Int64[Tensor, "B H W"]


class WeakShotBatches:
    """Rows ``2p`` and ``2p + 1`` of a batch are a pair. A function of the step and the rows.

    ``label_maps`` holds seen classes only; ``tags`` the classes that an image shows without a mask.

    Args:
        masked_labels: Where samples come from.
        settings: What a batch is made of.
        crop: Makes the pieces, all of one size.
        batch_size: Images of a whole batch: twice the pairs.
        seed: Seed of everything that is drawn.
    """

    def __init__(
        self,
        masked_labels: MaskedLabels,
        settings: WeakShotSettings,
        crop: Crop,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        assert batch_size % 2 == 0, f"{batch_size} images are no pairs"
        assert masked_labels.gives_truth or not settings.needs_truth, (
            "the data gives no truth: open it with gives_truth"
        )
        self.masked_labels, self.settings, self.crop = masked_labels, settings, crop
        self.batch_size, self.seed = batch_size, seed
        self.pairs = PairingTable(
            [known.tags & masked_labels.unseen for known in masked_labels.known],
            [known.with_mask for known in masked_labels.known],
            len(masked_labels.vocabulary),
            pairing=settings.pairing,
            mixing=settings.mixing,
        )

    def __call__(self, step: int, start: int, stop: int) -> Batch:
        """Make rows ``start`` up to ``stop`` of the batch of a step."""
        rows = [self._row(step, row) for row in range(start, stop)]
        batch: dict[str, Any] = {
            "images": torch.stack([rearrange(torch.from_numpy(row.image), "h w c -> c h w") for row in rows]),
            "sources": tuple(row.source for row in rows),
            "label_maps": torch.stack([_as_tensor(row.label_map) for row in rows]),
            "tags": torch.stack([self._tag_row(row.tags) for row in rows]),
            "padding": torch.from_numpy(np.stack([row.padding for row in rows])),
        }
        if not self.settings.truth:
            return Batch(**batch)
        return TruthBatch(**batch, truth=torch.stack([_as_tensor(row.truth) for row in rows]))

    def _row(self, step: int, row: int) -> "_Row":
        pair = step * (self.batch_size // 2) + row // 2
        num_images = len(self.masked_labels)
        index = int(_order(self.seed, pair // num_images, num_images)[pair % num_images])
        if row % 2:
            index = self.pairs.draw(index, np.random.default_rng([self.seed, pair, 0]))
        return self._cropped(index, np.random.default_rng([self.seed, pair, 1 + row % 2]))

    def _cropped(self, index: int, rng: np.random.Generator) -> "_Row":
        """Cut pieces of an image until one shows a label.

        Raises:
            DatasetError: None of ``MAX_CROPS`` does.
        """
        if self.settings.needs_truth:
            sample, label_map = self.masked_labels.read_truth(index)
        else:
            sample = self.masked_labels[index]
            label_map = sample.label_map
        if label_map is None:
            label_map = np.full(sample.image.shape[:2], IGNORE_INDEX, np.uint16)
        tags = sample.tags or frozenset()
        for _ in range(MAX_CROPS):
            image, truth, padding = self.crop(sample.image, label_map, rng)
            if self.settings.presence == "crop" and sample.label_map is not None:
                tags = (sample.tags or frozenset()) & frozenset(np.unique(truth).tolist())
            shown = self.masked_labels.hide(truth)
            if tags or (shown != IGNORE_INDEX).any():
                return _Row(image, str(sample.source), shown, tags, padding, truth)
        raise DatasetError(
            doing=f"cutting a piece of {sample.source} for training",
            found=f"no label in any of {MAX_CROPS} random pieces",
            expected="a masked pixel or a tag in one of them",
            fix="Leave the image out, add tags to it, or make pieces larger.",
        )

    def _tag_row(self, tags: frozenset[int]) -> Bool[Tensor, " K"]:
        row = torch.zeros(len(self.masked_labels.vocabulary), dtype=torch.bool)
        row[list(tags)] = True
        return row


class _Row(NamedTuple):
    image: np.ndarray
    source: str
    label_map: np.ndarray
    tags: frozenset[int]
    padding: np.ndarray
    truth: np.ndarray


def weak_shot_data(
    masked_labels: MaskedLabels,
    settings: WeakShotSettings,
    crop: Crop,
    *,
    batch_size: int,
    seed: int,
    crop_facts: dict[str, Any],
) -> StepwiseData:
    """Build the training data of images with partial labels.

    Args:
        masked_labels: Where samples come from.
        settings: What a batch is made of.
        crop: Makes the pieces.
        batch_size: Images of a whole batch: twice the pairs.
        seed: Seed of everything that is drawn.
        crop_facts: What ``crop`` depends on, as plain values.
    """
    facts = {**asdict(settings), "crop": crop_facts, "seed": seed, "batch_size": batch_size}
    digest = hashlib.sha256()
    add_to_digest(digest, b"view", masked_labels.fingerprint().encode())
    add_to_digest(digest, b"facts", repr(sorted(facts.items())).encode())
    known = masked_labels.known
    return StepwiseData(
        WeakShotBatches(masked_labels, settings, crop, batch_size=batch_size, seed=seed),
        batch_size=batch_size,
        fingerprint=digest.hexdigest(),
        facts={
            **facts,
            "images": len(masked_labels),
            "most_classes": max(len(each.with_mask | each.tags) for each in known),
            "images_with_masks": sum(each.masked for each in known),
            "seen_classes": len(masked_labels.seen),
            "unseen_classes": [
                masked_labels.vocabulary.names[label] for label in sorted(masked_labels.unseen)
            ],
        },
        files=masked_labels.files(),
    )


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_images: int) -> Int64[np.ndarray, " N"]:
    return np.random.default_rng([seed, epoch]).permutation(num_images)


def _as_tensor(label_map: UInt16[np.ndarray, "H W"]) -> Int64[Tensor, "H W"]:
    return torch.from_numpy(label_map.astype(np.int64))
