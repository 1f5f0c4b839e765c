"""CaptionData: images with captions as training batches, each a function of the step."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import get_worker_info

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
from lexiseg.data.captions.epoch_order import EpochOrder
from lexiseg.data.captions.invalid_records import (
    InvalidRecordLog,
    default_log,
    read_invalid_records,
    warn_of,
)
from lexiseg.data.captions.records import CaptionSource, InvalidReason, InvalidRecord, RawRecord, said
from lexiseg.data.captions.word_prompts import MakeTexts
from lexiseg.data.stepwise import TrainingData, stepwise_batches

#: Records that are met before the share of invalid ones is judged: a share of few says nothing.
MIN_MET = 100
_MAX_SUBSTITUTES = 100
_MAX_WORKERS = 1024

#: Raises where a text encoder could not read a caption.
TryText = Callable[[str], object]


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
        invalid_log: Folder for the list of broken records; None takes one in the cache, named after the data, unless
            ``list_broken_in`` names another before anything is read.
        try_text: Called with every sentence, such as the tokenizer of who will read it; a caption on which it raises is
            an invalid record. Changes no other.

    Attributes:
        source: The records.
        settings: How they become batches.
        invalid_log: Folder of the list of broken records, once there is one.
    """

    def __init__(
        self,
        source: CaptionSource,
        settings: CaptionBatchSettings,
        *,
        replacements: Sequence[str],
        invalid_log: Path | None,
        try_text: TryText | None = None,
    ) -> None:
        self.source, self.settings = source, settings
        self.batch_size = settings.batch_size
        digest = hashlib.sha256(f"{source.fingerprint()} {settings!r} {list(replacements)!r}".encode())
        self._fingerprint = digest.hexdigest()
        self._maker = _BatchMaker(source, settings, list(replacements), try_text)
        self._warned = False
        self.invalid_log: Path | None = None
        if invalid_log is not None:
            self.list_broken_in(invalid_log)
        if self._maker.tally.share_of_all() > settings.max_invalid:
            raise self._maker.too_many_invalid(self._log())

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
        self._log()
        for batch in stepwise_batches(
            self._maker,
            batch_size=self.batch_size,
            start_step=start_step,
            stop_step=stop_step,
            rank=rank,
            world_size=world_size,
            num_workers=num_workers,
        ):
            self._warn_once()
            yield batch

    def _warn_once(self) -> None:
        """Warn of the first broken record, here and not in a worker, whose warnings nobody words."""
        if not self._warned and self._maker.tally.met_and_broken()[1] and (broken := self.broken()):
            self._warned = True
            warn_of(broken[0], self._log())

    def fingerprint(self) -> str:
        """Hash the records (not the pixels), the settings and the replacement words."""
        return self._fingerprint

    def files(self) -> Sequence[Path]:
        """List the image files, or the shards that hold them."""
        return self.source.files

    def list_broken_in(self, folder: Path) -> None:
        """List broken records there from now on, those of damaged files at once."""
        self.invalid_log = folder
        log = self._maker.invalid_log = InvalidRecordLog(folder)
        self._warned |= log.has_any
        if log.add(self.source.invalid) and not self._warned:
            self._warned = True
            warn_of(self.source.invalid[0], folder)

    def broken(self) -> list[InvalidRecord]:
        """List the broken records met so far, by any process and any earlier run with this invalid_log."""
        return read_invalid_records(self._log())

    def _log(self) -> Path:
        if self.invalid_log is None:
            self.list_broken_in(default_log(self.source))
        assert self.invalid_log is not None
        return self.invalid_log

    def describe(self) -> dict[str, Any]:
        """Return kind, path, counts, and what is broken so far by reason."""
        reasons = Counter(record.reason.value for record in self.broken())
        prompts = self.settings.word_prompts
        return {
            **self.source.describe(),
            **({} if prompts is None else {"word_prompts": prompts.describe()}),
            "steps_per_epoch": round(self.steps_per_epoch, 3),
            "broken": dict(sorted(reasons.items())),
            "invalid_log": str(self._log()),
        }


class _Row(NamedTuple):
    """One row of a batch."""

    pixels: UInt8[np.ndarray, "S S 3"]
    caption: str
    word_prompts: tuple[str, ...]
    source: str


class _Tally:
    """Counts records met and broken, in a memory that all workers of a process share; each writes a row of its own.

    Attributes:
        num_unlisted: Records found broken on opening, which are never met.
        num_listed: The others.
    """

    def __init__(self, num_listed: int, num_unlisted: int) -> None:
        self.num_listed, self.num_unlisted = num_listed, num_unlisted
        self._counts = torch.zeros((_MAX_WORKERS + 1, 2), dtype=torch.int64)
        self._counts.share_memory_()  # type: ignore[no-untyped-call]

    def add(self, *, broken: bool) -> None:
        worker = get_worker_info()
        row = self._counts[0 if worker is None else 1 + worker.id % _MAX_WORKERS]
        row += torch.tensor([0, 1] if broken else [1, 0])

    def met_and_broken(self) -> tuple[int, int]:
        met, broken = self._counts.sum(0).tolist()
        return met, broken

    def share_of_all(self) -> float:
        """Return the share of all records that is broken, going by those met; of few met only what opening found."""
        met, broken = self.met_and_broken()
        rate = broken / met if met >= min(MIN_MET, max(1, self.num_listed)) else 0.0
        total = self.num_listed + self.num_unlisted
        return (self.num_unlisted + self.num_listed * rate) / total if total else 0.0


class _BatchMaker:
    """Makes rows of the batch of a step; one copy a process, all of which count together."""

    invalid_log: InvalidRecordLog

    def __init__(
        self,
        source: CaptionSource,
        settings: CaptionBatchSettings,
        replacements: list[str],
        try_text: TryText | None,
    ) -> None:
        self.source, self.settings, self.replacements = source, settings, replacements
        self.try_text = try_text
        self.order = EpochOrder(source.sizes, window=settings.window, seed=settings.seed)
        self.tally = _Tally(len(source), len(source.invalid))

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

    def _sample(self, epoch: int, place: int) -> _Row:
        substitutes = None
        index = self.order.record_at(epoch, place)
        for _ in range(_MAX_SUBSTITUTES):
            record = self.source.read(index)
            self.tally.add(broken=False)
            row = self._row(record, epoch, place) if isinstance(record, RawRecord) else record
            if isinstance(row, _Row):
                return row
            self._note(row)
            if substitutes is None:
                substitutes = sample_rng(self.settings.seed, epoch, place, stream=SUBSTITUTE)
            index = self.order.neighbour_of(epoch, place, substitutes)
        raise self.too_many_invalid(self.invalid_log.folder)

    def _row(self, record: RawRecord, epoch: int, place: int) -> _Row | InvalidRecord:
        """Decode and augment; whatever the image or the sentences make others raise is a broken record."""
        settings = self.settings
        try:
            image = self._image(record, sample_rng(settings.seed, epoch, place))
        except UnreadableImageError as error:
            return InvalidRecord(record.shard, record.key, error.reason, error.detail)
        except Exception as error:
            return InvalidRecord(record.shard, record.key, InvalidReason.IMAGE, said(error))
        try:
            rng = sample_rng(settings.seed, epoch, place, stream=WORDS)
            caption = record.captions[int(rng.integers(len(record.captions)))]
            further: tuple[str, ...] = ()
            if settings.word_prompts is not None:
                draws = sample_rng(settings.seed, epoch, place, stream=WORD_PROMPTS)
                further = settings.word_prompts(record.source, caption, draws)
            if settings.corruption is not None:
                caption = corrupt_words(caption, self.replacements, rng, settings.corruption)
            for text in (caption, *further) if self.try_text is not None else ():
                self.try_text(text)  # type: ignore[misc]
        except Exception as error:
            return InvalidRecord(record.shard, record.key, InvalidReason.TEXT, said(error))
        return _Row(image, caption, further, record.source)

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
        self.tally.add(broken=True)
        self.invalid_log.add([record])
        if self.tally.share_of_all() > self.settings.max_invalid:
            raise self.too_many_invalid(self.invalid_log.folder)

    def too_many_invalid(self, invalid_log: Path) -> DatasetError:
        tally, path = self.tally, self.source.path
        total = tally.num_listed + tally.num_unlisted
        met, broken = tally.met_and_broken()
        opening = f"{tally.num_unlisted:,} of {total:,} records broken"
        reading = f"{broken:,} of {met:,} records broken"
        both = f"{reading} that were read, and {opening} on opening"
        return DatasetError(
            doing=f"reading captions from {path}",
            found=opening if not met else reading if not tally.num_unlisted else both,
            expected=f"at most {self.settings.max_invalid:.0%}",
            fix=f"They are listed in {invalid_log}; look with: lexiseg captions check {path}. "
            "If that is how the data is, allow a larger share with max_invalid.",
        )
