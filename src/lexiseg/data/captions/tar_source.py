"""Records in webdataset tar shards, read at the places that an index knows.

webdataset's own loader streams: what it gives depends on the number of workers, and it cannot start in
the middle of an epoch. Training data here must do both, so shards are read through an index (see
``tar_index``); webdataset's layout and names are kept, and its writer packs shards (``captions pack``).
Compressed shards and addresses are refused, because neither can be read from the middle.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from lexiseg.data.captions.caption_text import CaptionError, parse_json, parse_text
from lexiseg.data.captions.records import BrokenRecord, CaptionColumns, CaptionSource, RawRecord, Rot
from lexiseg.data.captions.shard_files import ShardFiles
from lexiseg.data.captions.tar_index import index_tar, with_shard
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
        self.path = path
        self.window = 20_000
        self.columns = columns
        self.names = _distinct_names(files)
        self.indices = [index_tar(file, cache) for file in files]
        self.sizes = [len(index.keys) for index in self.indices]
        self._ends = list(accumulate(self.sizes))
        self.rot = [
            record
            for name, index in zip(self.names, self.indices, strict=True)
            for record in with_shard(index.rot, name)
        ]
        self._files = ShardFiles(files)

    def read(self, index: int) -> RawRecord | BrokenRecord:
        """Read picture and caption, in one piece where they are neighbours."""
        shard = bisect_right(self._ends, index)
        row = index - (self._ends[shard - 1] if shard else 0)
        known, name = self.indices[shard], self.names[shard]
        key = known.keys[row]
        picture_at, picture_size, caption_at, caption_size = known.places[row].tolist()
        start = min(picture_at, caption_at)
        stop = max(picture_at + picture_size, caption_at + caption_size)
        try:
            if stop - start <= picture_size + caption_size + 16_384:
                piece = self._files.read(shard, start, stop - start)
                picture = piece[picture_at - start : picture_at - start + picture_size]
                text = piece[caption_at - start : caption_at - start + caption_size]
            else:
                picture = self._files.read(shard, picture_at, picture_size)
                text = self._files.read(shard, caption_at, caption_size)
        except OSError as error:
            return BrokenRecord(name, key, Rot.ARCHIVE, str(error))
        if len(picture) + len(text) < picture_size + caption_size:
            return BrokenRecord(name, key, Rot.TRUNCATED, "the file was cut off since it was opened")
        try:
            captions = parse_json(text, self.columns.caption) if known.is_json[row] else parse_text(text)
        except CaptionError as error:
            return BrokenRecord(name, key, error.reason, error.detail)
        return RawRecord(name, key, picture, captions)

    def fingerprint(self) -> str:
        """Hash names of shards, keys, and places and sizes of members."""
        digest = hashlib.sha256()
        add_to_digest(digest, b"columns", repr(self.columns).encode())
        for name, index in zip(self.names, self.indices, strict=True):
            add_to_digest(digest, name.encode("utf-8", "surrogateescape"), index.places.tobytes())
            add_to_digest(digest, b"keys", "\0".join(index.keys).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def _distinct_names(files: Sequence[Path]) -> list[str]:
    """Name files by their last part, or by as many parts as tell them apart."""
    for parts in range(1, max(len(file.parts) for file in files) + 1):
        names = ["/".join(file.parts[-parts:]) for file in files]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]
