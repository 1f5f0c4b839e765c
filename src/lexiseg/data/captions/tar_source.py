"""Records in webdataset tar shards, read at the places that an index knows.

webdataset's own loader streams: what it gives depends on the number of workers, and it cannot start in
the middle of an epoch. Training data here must do both, so shards are read through an index of their
headers (``tar_index``). Its writer packs shards (``captions pack``). Compressed shards and addresses are refused, because
neither can be read from the middle.
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from lexiseg.data.captions.decoding import MAX_CAPTION_BYTES, CaptionError, parse_json, parse_text
from lexiseg.data.captions.records import (
    CaptionColumns,
    CaptionSource,
    InvalidReason,
    InvalidRecord,
    RawRecord,
)
from lexiseg.data.captions.tar_index import index_tars, with_shard
from lexiseg.data.captions.tar_pieces import ShardFiles
from lexiseg.data.labelled_dataset import add_to_digest


class TarSource(CaptionSource):
    """Records of several tar files, in the order of the files.

    Args:
        path: What was asked for.
        files: The tar files.
        columns: ``caption`` is the key in .json members.
        cache: Folder of remembered indices; None reads the headers anew.
    """

    kind = "tar"

    def __init__(self, path: str, files: Sequence[Path], columns: CaptionColumns, cache: Path | None) -> None:
        self.path, self.files = path, list(files)
        self.window = 20_000
        self.columns = columns
        self.names = _distinct_names(files)
        self.indices = [index.without_images() for index in index_tars(files, cache)]
        self.sizes = [len(index.keys) for index in self.indices]
        self._ends = list(accumulate(self.sizes))
        self.invalid = [
            record
            for name, index in zip(self.names, self.indices, strict=True)
            for record in with_shard(index.invalid, name)
        ]
        self._files = ShardFiles()
        passed_over = sum((Counter(index.passed_over) for index in self.indices), Counter())
        counts = ", ".join(f"{count:,} {kind}" for kind, count in passed_over.most_common())
        self.notes = [f"members of tar files that belong to no record: {counts}"] if counts else []

    def _read(self, index: int) -> RawRecord | InvalidRecord:
        """Read image and caption, in one piece where they are neighbours."""
        shard = bisect_right(self._ends, index)
        row = index - (self._ends[shard - 1] if shard else 0)
        known, name, file = self.indices[shard], self.names[shard], self.files[shard]
        key = known.keys[row]
        image_at, image_size, caption_at, caption_size = known.places[row].tolist()
        if caption_size > MAX_CAPTION_BYTES:
            return InvalidRecord(name, key, InvalidReason.LONG_CAPTION, f"a file of {caption_size:,} bytes")
        start = min(image_at, caption_at)
        stop = max(image_at + image_size, caption_at + caption_size)
        try:
            if stop - start <= image_size + caption_size + 16_384:
                piece = self._files.read(file, start, stop - start)
                image = piece[image_at - start : image_at - start + image_size]
                text = piece[caption_at - start : caption_at - start + caption_size]
            else:
                image = self._files.read(file, image_at, image_size)
                text = self._files.read(file, caption_at, caption_size)
        except OSError as error:
            return InvalidRecord(name, key, InvalidReason.ARCHIVE, str(error))
        if len(image) + len(text) < image_size + caption_size:
            return InvalidRecord(
                name, key, InvalidReason.TRUNCATED, "the file was cut off since it was opened"
            )
        try:
            captions = parse_json(text, self.columns.caption) if known.is_json[row] else parse_text(text)
        except CaptionError as error:
            return InvalidRecord(name, key, error.reason, error.detail)
        return RawRecord(name, key, image, captions)

    def fingerprint(self) -> str:
        """Hash names of shards, keys, and places and sizes of members."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"columns", repr(self.columns).encode())
        for name, index in zip(self.names, self.indices, strict=True):
            add_to_digest(digest, name.encode("utf-8", "surrogateescape"), index.places.tobytes())
            add_to_digest(digest, b"keys", index.keys.content)
        return digest.hexdigest()


def _distinct_names(files: Sequence[Path]) -> list[str]:
    """Name files by their last part, or by as many parts as tell them apart."""
    for parts in range(1, max(len(file.parts) for file in files) + 1):
        names = ["/".join(file.parts[-parts:]) for file in files]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]
