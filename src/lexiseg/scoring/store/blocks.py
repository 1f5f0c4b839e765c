"""The file format of the predictions store: blocks, one an image, one after the other in a shard.

A block is a head of fixed size, then its arrays, all little-endian::

    head      magic, sizes of everything, CRC-32 of the arrays, CRC-32 of the head itself
    runs      labels (uint16) and lengths (uint16) of the predicted label map, then of the true one
    top       k best classes (uint16) and their scores (float16) at every grid point: k × rows × columns
    stem      UTF-8, then zeros up to a multiple of eight bytes

A block is written by one append. If the process is killed, every block before is whole, and the
last one is shorter than its head says; that is how half a block is known.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16, UInt16

from lexiseg.core.errors import DatasetError
from lexiseg.core.row_rle import LabelRuns

_HEAD = struct.Struct("<4sIIIIIHHHHIII4x")
_MAGIC = b"LXS1"
_NO_TRUTH = 0xFFFFFFFF


class TopScores(NamedTuple):
    """The best classes of every point of the encoder's grid, best first.

    Attributes:
        labels: Labels of the store's vocabulary.
        scores: Their scores on the model's own scale, in half precision (about three digits).
    """

    labels: UInt16[np.ndarray, "k h w"]
    scores: Float16[np.ndarray, "k h w"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredImage:
    """One image of a store; arrays are views of the block that was read.

    Attributes:
        stem: Name of the image in its data set.
        size: Height and width of its label maps.
        predicted: Labels of the store's vocabulary.
        true: Labels of the data set's classes; None where the data set has none.
        top: Scores on the grid; None where they were not kept.
    """

    stem: str
    size: tuple[int, int]
    predicted: LabelRuns
    true: LabelRuns | None
    top: TopScores | None


class BlockPlace(NamedTuple):
    """Where a block lies, from its head alone."""

    shard: Path
    offset: int
    size: int
    stem: str
    crc: int


def pack_block(image: StoredImage) -> bytes:
    """Write one block."""
    stem = image.stem.encode()
    true = image.true or LabelRuns(np.empty(0, np.uint16), np.empty(0, np.uint16))
    arrays = [*image.predicted, *true]
    k = rows = columns = 0
    if image.top is not None:
        k, rows, columns = image.top.labels.shape
        arrays += [image.top.labels, image.top.scores]
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays) + stem
    body += bytes(-len(body) % 8)
    num_true = _NO_TRUTH if image.true is None else true.labels.size
    sizes = (len(body), *image.size, image.predicted.labels.size, num_true, k, rows, columns, len(stem))
    head = _HEAD.pack(_MAGIC, *sizes, zlib.crc32(body), 0, 0)
    head = _HEAD.pack(_MAGIC, *sizes, zlib.crc32(body), zlib.crc32(head), 0)
    return head + body


def damaged_block(place: BlockPlace, found: str) -> DatasetError:
    """Return the error that says that a block cannot be used."""
    return DatasetError(
        doing=f"reading the prediction of {place.stem!r} in {place.shard}",
        found=found,
        expected="an intact block",
        fix="Run the same lexiseg predict command again: it does this image again and keeps the others.",
    )


class ShardDamage(NamedTuple):
    """Where a shard stops being readable, and why."""

    shard: Path
    offset: int
    found: str


class Shard:
    """One file of blocks; only what is asked for is read, and nothing is kept.

    Read with ``pread``, not mapped: a mapped file counts as memory of the process, and one that another
    process cuts short would kill the reader. Threads may read at the same time.

    Args:
        path: The file.

    Attributes:
        places: Its whole blocks, in file order.
        damage: What follows the last whole block, if anything does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: list[BlockPlace] = []
        self.damage: ShardDamage | None = None
        self._file = path.open("rb")
        self._length = os.fstat(self._file.fileno()).st_size
        for place in self._walk():
            self.places.append(place)

    @property
    def end(self) -> int:
        """Return the offset after the last whole block."""
        return self.places[-1].offset + self.places[-1].size if self.places else 0

    def read(self, place: BlockPlace) -> StoredImage:
        """Read one block.

        Raises:
            DatasetError: Its bytes are not those that were written.
        """
        block = self._bytes(place.offset, place.size)
        body = memoryview(block)[_HEAD.size :]
        if len(block) != place.size or zlib.crc32(body) != place.crc:
            found = (
                f"bytes that are not those that were written (checksum differs at offset {place.offset:,})"
            )
            raise damaged_block(place, found)
        head = _HEAD.unpack_from(block)
        _, _, height, width, num_predicted, num_true, k, rows, columns, *_ = head
        position = 0

        def take(count: int, kind: type[np.generic]) -> np.ndarray:
            nonlocal position
            array = np.frombuffer(body, kind, count, position)
            position += array.nbytes
            return array

        runs = num_predicted + (0 if num_true == _NO_TRUTH else num_true)
        if 4 * (runs + k * rows * columns) > len(body):
            raise damaged_block(place, "more runs and scores than the block has bytes")
        predicted = LabelRuns(take(num_predicted, np.uint16), take(num_predicted, np.uint16))
        true = None
        if num_true != _NO_TRUTH:
            true = LabelRuns(take(num_true, np.uint16), take(num_true, np.uint16))
        top = None
        if k:
            shape = (k, rows, columns)
            count = k * rows * columns
            top = TopScores(take(count, np.uint16).reshape(shape), take(count, np.float16).reshape(shape))
        for part in (predicted, true):
            if part is not None and int(part.lengths.sum(dtype=np.int64)) != height * width:
                raise damaged_block(place, f"runs that do not fill {height}×{width} pixels")
        if top is not None and not np.isfinite(top.scores).all():
            raise damaged_block(place, "scores that are not finite")
        return StoredImage(stem=place.stem, size=(height, width), predicted=predicted, true=true, top=top)

    def is_intact(self, place: BlockPlace) -> bool:
        """Return whether the bytes of a block are those that were written."""
        body = self._bytes(place.offset + _HEAD.size, place.size - _HEAD.size)
        return zlib.crc32(body) == place.crc

    def _bytes(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)

    def _walk(self) -> Iterator[BlockPlace]:
        offset, length = 0, self._length
        while offset < length:
            if offset + _HEAD.size > length:
                self.damage = ShardDamage(self.path, offset, "half a block at its end")
                return
            head = _HEAD.unpack(self._bytes(offset, _HEAD.size))
            (
                magic,
                body_size,
                _,
                _,
                num_predicted,
                num_true,
                k,
                rows,
                columns,
                stem_size,
                crc,
                head_crc,
                *_,
            ) = head
            expected = zlib.crc32(_HEAD.pack(*head[:11], 0, 0))
            if magic != _MAGIC or head_crc != expected:
                self.damage = ShardDamage(self.path, offset, f"bytes that are no block at offset {offset:,}")
                return
            size = _HEAD.size + body_size
            if offset + size > length:
                self.damage = ShardDamage(self.path, offset, "half a block at its end")
                return
            runs = num_predicted + (0 if num_true == _NO_TRUTH else num_true)
            stem_at = offset + _HEAD.size + 4 * runs + 4 * k * rows * columns
            stem = self._bytes(stem_at, stem_size).decode(errors="replace")
            yield BlockPlace(self.path, offset, size, stem, crc)
            offset += size
