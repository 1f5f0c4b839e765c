"""CaptionData: images with captions as training batches, each a function of the step.

The order of an epoch: shards shuffled, and records within groups of shards.
"""

import hashlib
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int64, UInt8
from PIL import Image

from lexiseg.core.batch import Batch
from lexiseg.core.errors import DatasetError
from lexiseg.data.augmentation.auto_augment import auto_augment
from lexiseg.data.augmentation.labelled_crop import flip_horizontally
from lexiseg.data.augmentation.rand_augment import RandAugment, rand_augment
from lexiseg.data.augmentation.random_crop import RandomCropSettings, draw_crop
from lexiseg.data.augmentation.random_erasing import RandomErasing, random_erase
from lexiseg.data.augmentation.seeding import SUBSTITUTE, WORD_PROMPTS, WORDS, sample_rng
from lexiseg.data.augmentation.word_corruption import WordCorruption, corrupt_words
from lexiseg.data.captions.decoding import UnreadableImageError, decode_crop
from lexiseg.data.captions.invalid_records import InvalidRecordLog, read_invalid_records
from lexiseg.data.captions.records import CaptionSource, InvalidRecord, RawRecord
from lexiseg.data.captions.word_prompts import MakeTexts
from lexiseg.data.stepwise import TrainingData, stepwise_batches

_KEPT = 4  # permutations; a batch at a border touches two


class EpochOrder:
    """Which record comes at which place of which epoch, without listing an epoch.

    Shards are put into an order of the epoch's own and taken together into groups of at least
    ``window`` records; a group's records are permuted. So every record comes once an epoch, a place is found at once,
    and records that come near each other in time lie in the same few files.

    Args:
        sizes: Records of each shard.
        window: Least records of a group.
        seed: Seed of the run.
    """

    def __init__(self, sizes: Sequence[int], *, window: int, seed: int) -> None:
        self.sizes = np.array(sizes, np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.num_records = int(self.sizes.sum())
        self.window, self.seed = window, seed
        self._layouts: OrderedDict[int, tuple[list[list[int]], list[int]]] = OrderedDict()
        self._orders: OrderedDict[tuple[int, int], Int64[np.ndarray, " n"]] = OrderedDict()

    def record_at(self, epoch: int, place: int) -> int:
        """Return the number of the record at a place, 0 up to the number of records."""
        ends = self._layout(epoch)[1]
        group = bisect_right(ends, place)
        return int(self._order(epoch, group)[place - (ends[group - 1] if group else 0)])

    def neighbour_of(self, epoch: int, place: int, rng: np.random.Generator) -> int:
        """Draw a record from the group that a place is in."""
        order = self._order(epoch, bisect_right(self._layout(epoch)[1], place))
        return int(order[rng.integers(len(order))])

    def _layout(self, epoch: int) -> tuple[list[list[int]], list[int]]:
        """Return the groups of shards, and the place after the last of each group."""
        if epoch not in self._layouts:
            groups: list[list[int]] = [[]]
            counts = [0]
            rng = np.random.default_rng((self.seed, epoch, 0))
            for shard in rng.permutation(len(self.sizes)).tolist():
                if counts[-1] >= self.window:
                    groups.append([])
                    counts.append(0)
                groups[-1].append(shard)
                counts[-1] += int(self.sizes[shard])
            if len(groups) > 1 and counts[-1] < self.window:  # the rest mixes with the group before
                rest, count = groups.pop(), counts.pop()
                groups[-1] += rest
                counts[-1] += count
            ends = list(accumulate(counts))
            _keep(self._layouts, epoch, (groups, ends))
        return self._layouts[epoch]

    def _order(self, epoch: int, group: int) -> Int64[np.ndarray, " n"]:
        key = (epoch, group)
        if key not in self._orders:
            shards = self._layout(epoch)[0][group]
            records = np.concatenate(
                [np.arange(self.starts[shard], self.starts[shard] + self.sizes[shard]) for shard in shards]
            )
            rng = np.random.default_rng((self.seed, epoch, 1, group))
            _keep(self._orders, key, rng.permutation(records))
        return self._orders[key]


def _keep(kept: OrderedDict, key: object, value: object) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)


#: Records a process meets before the share of invalid ones is judged: a share of few says nothing.
MIN_MET = 100
_MAX_SUBSTITUTES = 100


@dataclass(frozen=True, kw_only=True)
class CaptionBatchSettings:
    """How records become batches.

    Attributes:
        batch_size: Samples a step over all devices.
        size: Side of the square images.
        seed: Seed of data order, augmentation and words, 0 or more.
        crop: Settings of random crops; None takes the whole image, squeezed.
        auto_augment: Apply the ImageNet policy of AutoAugment.
        corruption: Corruption of caption words; None leaves them.
        max_invalid: Share of invalid records at which to stop, in [0, 1].
        window: Number of records shuffled at once.
        flip: Mirror half of the images.
        rand_augment: Change images by RandAugment; None does not.
        erasing: Fill rectangles with noise; None does not.
        word_prompts: Makes the further sentences of an image from its source and its caption as it is stored;
            None makes none. Its ``repr`` changes with what it gives.
    """

    batch_size: int
    size: int
    seed: int
    crop: RandomCropSettings | None
    auto_augment: bool
    corruption: WordCorruption | None
    max_invalid: float
    window: int
    flip: bool = False
    rand_augment: RandAugment | None = None
    erasing: RandomErasing | None = None
    word_prompts: MakeTexts | None = None


class CaptionData(TrainingData):
    """Endless batches of images with captions.

    The records of all epochs stand in one row; step ``t`` takes places ``t * batch_size`` and on. Of
    several captions one is drawn. A broken record's place is taken by another record from the same group of shards, drawn by
    the place alone, so that batches are full and the same in any run.

    Args:
        source: The records.
        settings: How they become batches.
        replacements: Words for the corruption.
        invalid_log: Folder for the list of broken records.

    Attributes:
        source: The records.
        settings: How they become batches.
        invalid_log: Folder of the list of broken records.
    """

    def __init__(
        self,
        source: CaptionSource,
        settings: CaptionBatchSettings,
        *,
        replacements: Sequence[str],
        invalid_log: Path,
    ) -> None:
        self.source, self.settings = source, settings
        self.batch_size = settings.batch_size
        digest = hashlib.sha256(f"{source.fingerprint()} {settings!r} {list(replacements)!r}".encode())
        self._fingerprint = digest.hexdigest()
        self._maker = _BatchMaker(source, settings, list(replacements))
        self.list_broken_in(invalid_log)
        total = len(source) + len(source.invalid)
        if len(source.invalid) > settings.max_invalid * total:
            raise _too_many_invalid(source, len(source.invalid), total, settings.max_invalid, invalid_log)

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every record comes once; seldom a whole number."""
        return len(self.source) / self.batch_size

    def batches(
        self,
        *,
        start_step: int,
        stop_step: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
    ) -> Iterator[Batch]:
        """Return this device's share of the batches of some steps.

        Raises:
            DatasetError: Too large a share of the records met is broken.
        """
        yield from stepwise_batches(
            self._maker,
            batch_size=self.batch_size,
            start_step=start_step,
            stop_step=stop_step,
            rank=rank,
            world_size=world_size,
            num_workers=num_workers,
        )

    def fingerprint(self) -> str:
        """Hash the records (not the pixels), the settings and the replacement words."""
        return self._fingerprint

    def files(self) -> Sequence[Path]:
        """List the image files, or the shards that hold them."""
        return self.source.files

    def list_broken_in(self, folder: Path) -> None:
        """List broken records there from now on, those of damaged files at once."""
        self.invalid_log = folder
        self._maker.invalid_log = InvalidRecordLog(folder)
        self._maker.invalid_log.add(self.source.invalid)

    def broken(self) -> list[InvalidRecord]:
        """List the broken records met so far, by any process and any earlier run with this invalid_log."""
        return read_invalid_records(self.invalid_log)

    def describe(self) -> dict[str, Any]:
        """Return kind, path, counts, and what is broken so far by reason."""
        reasons = Counter(record.reason.value for record in self.broken())
        prompts = self.settings.word_prompts
        return {
            **self.source.describe(),
            **({} if prompts is None else {"word_prompts": prompts.describe()}),
            "steps_per_epoch": round(self.steps_per_epoch, 3),
            "broken": dict(sorted(reasons.items())),
            "invalid_log": str(self.invalid_log),
        }


class _Row(NamedTuple):
    """One row of a batch."""

    pixels: UInt8[np.ndarray, "S S 3"]
    caption: str
    word_prompts: tuple[str, ...]
    source: str


class _BatchMaker:
    """Makes rows of the batch of a step; one copy a process, each counting the invalid records it meets."""

    invalid_log: InvalidRecordLog

    def __init__(
        self, source: CaptionSource, settings: CaptionBatchSettings, replacements: list[str]
    ) -> None:
        self.source, self.settings, self.replacements = source, settings, replacements
        self.order = EpochOrder(source.sizes, window=settings.window, seed=settings.seed)
        self.num_met = self.num_broken = 0

    def __call__(self, step: int, start: int, stop: int) -> Batch:
        first = step * self.settings.batch_size
        rows = [self._sample(*divmod(first + row, self.order.num_records)) for row in range(start, stop)]
        pixels = torch.from_numpy(np.stack([row.pixels for row in rows]))
        further = None if self.settings.word_prompts is None else tuple(row.word_prompts for row in rows)
        return Batch(
            images=rearrange(pixels, "b h w c -> b c h w").contiguous(),
            captions=tuple(row.caption for row in rows),
            word_prompts=further,
            sources=tuple(row.source for row in rows),
        )

    def _sample(self, epoch: int, place: int) -> "_Row":
        settings = self.settings
        substitutes = None
        index = self.order.record_at(epoch, place)
        for _ in range(_MAX_SUBSTITUTES):
            record = self.source.read(index)
            self.num_met += 1
            if isinstance(record, RawRecord):
                try:
                    image = self._image(record, sample_rng(settings.seed, epoch, place))
                except UnreadableImageError as error:
                    record = InvalidRecord(record.shard, record.key, error.reason, error.detail)
                else:
                    rng = sample_rng(settings.seed, epoch, place, stream=WORDS)
                    caption = record.captions[int(rng.integers(len(record.captions)))]
                    further: tuple[str, ...] = ()
                    if settings.word_prompts is not None:
                        draws = sample_rng(settings.seed, epoch, place, stream=WORD_PROMPTS)
                        further = settings.word_prompts(record.source, caption, draws)
                    if settings.corruption is not None:
                        caption = corrupt_words(caption, self.replacements, rng, settings.corruption)
                    return _Row(image, caption, further, record.source)
            self._note(record)
            if substitutes is None:
                substitutes = sample_rng(settings.seed, epoch, place, stream=SUBSTITUTE)
            index = self.order.neighbour_of(epoch, place, substitutes)
        raise _too_many_invalid(
            self.source, self.num_broken, self.num_met, settings.max_invalid, self.invalid_log.folder
        )

    def _image(self, record: RawRecord, rng: np.random.Generator) -> np.ndarray:
        crop, size = self.settings.crop, self.settings.size

        def draw(height: int, width: int) -> tuple[int, int, int, int]:
            return (0, 0, height, width) if crop is None else draw_crop(height, width, crop, rng)

        settings = self.settings
        image = decode_crop(record.image, draw, size)
        if settings.flip and rng.random() < 0.5:
            (image,) = flip_horizontally(image)
        if settings.auto_augment:
            image = np.asarray(auto_augment(Image.fromarray(image), rng))
        if settings.rand_augment is not None:
            image = np.asarray(rand_augment(Image.fromarray(image), rng, settings.rand_augment))
        if settings.erasing is not None:
            image = random_erase(image, rng, settings.erasing)
        return image

    def _note(self, record: InvalidRecord) -> None:
        self.num_broken += 1
        self.invalid_log.add([record])
        if self.num_met >= MIN_MET and self.num_broken > self.settings.max_invalid * self.num_met:
            raise _too_many_invalid(
                self.source, self.num_broken, self.num_met, self.settings.max_invalid, self.invalid_log.folder
            )


def _too_many_invalid(
    source: CaptionSource, num_broken: int, num_met: int, max_invalid: float, invalid_log: Path
) -> DatasetError:
    return DatasetError(
        doing=f"reading captions from {source.path}",
        found=f"{num_broken:,} of {num_met:,} records broken",
        expected=f"at most {max_invalid:.0%}",
        fix=f"They are listed in {invalid_log}; look with: lexiseg captions check {source.path}. "
        "If that is how the data is, allow a larger share with max_invalid.",
    )
