"""Pack images with captions into webdataset tar shards."""

import importlib.util
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_folder
from lexiseg.core.errors import MissingPackageError, OutputError
from lexiseg.core.image_decoders import open_image
from lexiseg.core.mapping import Mapper
from lexiseg.data.captions.decoding import UnreadableImageError, probe_image
from lexiseg.data.captions.records import CaptionSource, InvalidRecord, RawRecord
from lexiseg.data.captions.tar_index import IMAGE_EXTENSIONS

_HEADER_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was packed.

    Attributes:
        num_shards: Tar files written.
        num_records: Records in them.
        broken: Records that were left out.
    """

    num_shards: int
    num_records: int
    broken: list[InvalidRecord]


def pack_captions(
    source: CaptionSource,
    out: Path,
    *,
    shard_bytes: int = 100_000_000,
    advance: Callable[[], None] = lambda: None,
    apply: Mapper = map,
) -> Packed:
    """Write all usable records to ``out/00000.tar``, ``out/00001.tar``, …, in order.

    Images are copied byte for byte; one caption becomes .txt, several become .json with a list. The
    folder appears when everything is in it. The same records give the same bytes.

    Args:
        source: The records.
        out: A folder that does not exist or is empty.
        shard_bytes: A shard is closed when it is that large.
        advance: Called once a record.
        apply: Reads and looks at records, by several workers for example; they are written here.

    Raises:
        OutputError: The folder holds something, or cannot be written.
        MissingPackageError: webdataset is not installed.
    """
    if importlib.util.find_spec("webdataset") is None:
        raise MissingPackageError.of("webdataset", doing=f"packing {source.path}", extra="train")
    broken, num_records = list(source.invalid), 0
    with _folder(out) as folder, _Shards(folder, shard_bytes) as shards:
        names = _Names()
        for found in apply(partial(_packable, source), range(len(source))):
            if isinstance(found, InvalidRecord):
                broken.append(found)
            else:
                key, member = found
                shards.write({"__key__": names.take(key), **member})
                num_records += 1
            advance()
    return Packed(num_shards=shards.count, num_records=num_records, broken=broken)


def _packable(source: CaptionSource, index: int) -> tuple[str, dict[str, bytes]] | InvalidRecord:
    """Read a record; return its key and the members of a tar file, or why it is left out."""
    record = source.read(index)
    if isinstance(record, InvalidRecord):
        return record
    member = _member(record)
    return member if isinstance(member, InvalidRecord) else (record.key, member)


def _member(record: RawRecord) -> dict[str, bytes] | InvalidRecord:
    try:
        probe_image(record.image)
    except UnreadableImageError as error:
        return InvalidRecord(record.shard, record.key, error.reason, error.detail)
    with open_image(io.BytesIO(record.image)) as image:
        extension = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}.get(
            image.format or "", str(image.format).lower()
        )
    photo = record.image
    if extension not in IMAGE_EXTENSIONS:  # a format that only its name tells
        extension = "png"
        with open_image(io.BytesIO(record.image)) as image:
            target = io.BytesIO()
            image.convert("RGB").save(target, "PNG")
            photo = target.getvalue()
    if len(record.captions) == 1:
        return {extension: photo, "txt": record.captions[0].encode()}
    return {extension: photo, "json": json.dumps({"caption": record.captions}).encode()}


class _Names:
    """Makes names of records that a tar shard can hold: no dots, each once, at most 90 letters."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def take(self, key: str) -> str:
        plain = "".join(letter if letter.isalnum() or letter in "-_/" else "_" for letter in key)
        plain = plain.encode()[-80:].decode(errors="ignore").lstrip("/") or "record"
        name, number = plain, 1
        while name in self.taken or name.startswith("__"):
            number += 1
            name = f"{plain.lstrip('_')}-{number}"
        self.taken.add(name)
        return name


class _Shards:
    """Tar files by webdataset's writer, a new one where the last is full."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.count = self.size = 0
        self.writer: Any = None

    def write(self, sample: dict[str, Any]) -> None:
        from webdataset import TarWriter

        if self.writer is None or self.size >= self.shard_bytes:
            self.close()
            self.writer = TarWriter(str(self.folder / f"{self.count:05d}.tar"), mtime=0.0)
            self.count += 1
            self.size = 0
        self.writer.write(sample)
        self.size += sum(len(data) + _HEADER_BYTES for name, data in sample.items() if name != "__key__")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside ``out`` that becomes it when the block succeeds."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            doing=f"packing into {out}",
            found="something there already",
            expected="a folder that does not exist yet",
            fix="Choose another --out, or remove it.",
        )
    with atomic_folder(out) as folder:
        yield folder
