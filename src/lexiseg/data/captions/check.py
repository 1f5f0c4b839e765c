"""Check images with captions: invalid records, duplicates, lengths of captions."""

import os
import re
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from lexiseg.data.captions.decoding import UnreadableImageError, probe_image
from lexiseg.data.captions.records import CaptionSource, InvalidRecord, RawRecord

#: Word pieces that SimSeg's text encoder reads, with [CLS] and [SEP].
MAX_PIECES = 25
_PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)
_TOKEN = re.compile(r"\w+|[^\w\s]")
#: A word list of 30,000 pieces has most words of up to so many letters whole; a guess, hence "about".
_LETTERS_PER_PIECE = 9
_NUM_COMMON = 20
_AHEAD = 64  # records in flight, a thread


@dataclass(kw_only=True)
class CaptionCheck:
    """What was found.

    Attributes:
        kind: Kind of the data: tar, parquet or folder.
        path: Path of the data.
        num_shards: Files, or row groups.
        num_images: Usable records.
        num_captions: Captions of usable records.
        broken: What cannot be used.
        repeated_images: Images whose bytes were met before.
        repeated_captions: Captions that were met before, in any case of letters.
        words: Percentiles of the number of words of a caption.
        one_word: Share of captions of a single word.
        long: Share of captions that about so many word pieces cut off.
        heights: Percentiles.
        widths: Percentiles.
        image_bytes: Size of all usable images.
        common: The commonest words, with the share of captions that hold them.
    """

    kind: str
    path: str
    num_shards: int = 0
    num_images: int = 0
    num_captions: int = 0
    broken: list[InvalidRecord] = field(default_factory=list)
    repeated_images: int = 0
    repeated_captions: int = 0
    words: dict[str, float] = field(default_factory=dict)
    one_word: float = 0.0
    long: float = 0.0
    heights: dict[str, float] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)
    image_bytes: int = 0
    common: list[tuple[str, float]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is broken; repeats do not count."""
        return not self.broken

    def reasons(self) -> dict[str, int]:
        """Count what is broken by reason, the commonest first."""
        return dict(Counter(record.reason.value for record in self.broken).most_common())

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; of what is broken the counts."""
        values = {name: value for name, value in vars(self).items() if name != "broken"}
        return {
            **values,
            "common": dict(self.common),
            "num_broken": len(self.broken),
            "broken": self.reasons(),
        }


def check_captions(
    source: CaptionSource,
    *,
    workers: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> CaptionCheck:
    """Read every record once and decode every image as far as its end.

    Memory: some 40 bytes a record, and the words.

    Args:
        source: The records.
        workers: Threads; None takes one a core.
        advance: Called once a record.
    """
    check = CaptionCheck(kind=source.kind, path=source.path, num_shards=len(source.sizes))
    check.broken.extend(source.invalid)
    images, captions = array("Q"), array("Q")
    lengths, pieces, heights, widths = array("l"), array("l"), array("l"), array("l")
    holding: Counter[str] = Counter()
    for look in _look_at_all(source, workers or os.cpu_count() or 1):
        advance()
        if isinstance(look, InvalidRecord):
            check.broken.append(look)
            continue
        images.append(look.digest)
        heights.append(look.height)
        widths.append(look.width)
        check.image_bytes += look.num_bytes
        for caption in look.captions:
            folded = caption.casefold()
            captions.append(_digest(folded.encode("utf-8", "surrogatepass")))
            lengths.append(len(caption.split()))
            tokens = _TOKEN.findall(folded)
            pieces.append(2 + sum(1 + (len(token) - 1) // _LETTERS_PER_PIECE for token in tokens))
            holding.update({token for token in tokens if token[0].isalpha()})
    check.num_images, check.num_captions = len(images), len(captions)
    check.repeated_images, check.repeated_captions = _repeats(images), _repeats(captions)
    check.words, check.heights, check.widths = map(_percentiles, (lengths, heights, widths))
    if captions:
        check.one_word = float(np.mean(np.array(lengths) == 1))
        check.long = float(np.mean(np.array(pieces) > MAX_PIECES))
        check.common = [(w, count / len(captions)) for w, count in holding.most_common(_NUM_COMMON)]
    return check


@dataclass(frozen=True)
class _Look:
    digest: int
    num_bytes: int
    height: int
    width: int
    captions: tuple[str, ...]


def _look_at_all(source: CaptionSource, workers: int) -> Iterator[_Look | InvalidRecord]:
    """Read records with several threads (decoders let others run), in order, a few ahead."""
    waiting: deque[Future[_Look | InvalidRecord]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for index in range(len(source)):
                waiting.append(pool.submit(_look, source, index))
                if len(waiting) > workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _look(source: CaptionSource, index: int) -> _Look | InvalidRecord:
    record = source.read(index)
    if not isinstance(record, RawRecord):
        return record
    try:
        height, width = probe_image(record.image)
    except UnreadableImageError as error:
        return InvalidRecord(record.shard, record.key, error.reason, error.detail)
    return _Look(_digest(record.image), len(record.image), height, width, record.captions)


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def _repeats(digests: array) -> int:
    return len(digests) - len(np.unique(np.array(digests)))


def _percentiles(values: array) -> dict[str, float]:
    if not values:
        return {}
    found = np.percentile(np.array(values), _PERCENTILES)
    return {str(percent): float(value) for percent, value in zip(_PERCENTILES, found, strict=True)}
