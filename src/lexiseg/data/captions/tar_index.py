"""Where the records of a tar shard lie, read once from its headers and remembered on disk.

The layout is webdataset's: members that follow each other under one key are one record; the key is
the name up to the first dot of its last part, the extension is the rest, in any case.
"""

import hashlib
import json
import re
import tarfile
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.errors import OutputError
from lexiseg.data.captions.records import BrokenRecord, Rot

PICTURE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
#: In the order in which they are preferred where a record has several.
CAPTION_EXTENSIONS = ("txt", "caption", "text", "json")
_FORMAT = 1  # of the remembered index: another number is never read
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$", re.DOTALL)  # webdataset's base_plus_ext
_META = re.compile(r"__[^/]*__($|/)")  # webdataset's skip_meta


@dataclass(frozen=True)
class TarIndex:
    """The usable records of one tar file, in its order, and its rot.

    Attributes:
        places: A row a record: start and length of the picture, start and length of the caption.
        is_json: 1 where the caption is JSON.
        keys: Names of the records, joined by zero bytes.
        rot: What cannot be used, with an empty shard name.
    """

    places: Int64[np.ndarray, "N 4"]
    is_json: UInt8[np.ndarray, " N"]
    keys: tuple[str, ...]
    rot: tuple[BrokenRecord, ...]


def index_tar(path: Path, cache: Path | None) -> TarIndex:
    """Give the index of a shard, from the cache where the file is the same as then.

    Cost: about 1 s for 30,000 members the first time; memory and cache file take some 60 bytes a record.

    Args:
        path: An uncompressed tar file.
        cache: Folder of remembered indices; None remembers nothing.
    """
    if cache is None:
        return read_tar_index(path)
    state = path.stat()
    identity = f"{_FORMAT}|{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    file = cache / "captions" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"
    if (known := _load(file)) is not None:
        return known
    index = read_tar_index(path)
    try:
        with atomic_path(file) as temporary, temporary.open("wb") as target:
            _save(index, target)
    except OutputError as error:
        warnings.warn(f"the index of {path.name} is not remembered: {error}", stacklevel=2)
    return index


def read_tar_index(path: Path) -> TarIndex:
    """Read the headers of a tar file; what is broken is listed, never raised."""
    builder = _Builder()
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"{member.name} ends after the end of the file")
                builder.add(member)
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
            end = archive.offset
        _refuse_other_end(path, end)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        return builder.finish(error)
    return builder.finish(None)


def _refuse_other_end(path: Path, end: int) -> None:
    """Raise where the headers do not end with a block of zeros: tarfile takes any rot for the end."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
    if block and (len(block) < tarfile.BLOCKSIZE or any(block)):
        raise tarfile.ReadError(f"no header at byte {end:,}")
    if not block and end:
        raise tarfile.ReadError(f"no end mark at byte {end:,}")


class _Builder:
    def __init__(self) -> None:
        self.places: list[tuple[int, int, int, int]] = []
        self.is_json: list[int] = []
        self.keys: list[str] = []
        self.rot: list[BrokenRecord] = []
        self.key: str | None = None
        self.parts: dict[str, tuple[int, int]] = {}
        self.doubled = ""
        self.num_members = 0

    def add(self, member: tarfile.TarInfo) -> None:
        self.num_members += 1
        match = _KEY.match(member.name)
        if not member.isreg() or match is None or _META.match(member.name):
            return
        key, extension = match[1], match[2].lower()
        if key != self.key:
            self.close_record()
            self.key = key
        if extension in self.parts:
            self.doubled = extension
        self.parts[extension] = (member.offset_data, member.size)

    def close_record(self) -> None:
        """Judge the record that is complete; a key without picture and caption files is no record."""
        key, parts, doubled = self.key, self.parts, self.doubled
        self.key, self.parts, self.doubled = None, {}, ""
        picture = next((parts[name] for name in PICTURE_EXTENSIONS if name in parts), None)
        caption = next((name for name in CAPTION_EXTENSIONS if name in parts), None)
        if key is None or (picture is None and caption is None):
            return
        if doubled:
            self.rot.append(BrokenRecord("", key, Rot.TWICE, f"two .{doubled}"))
        elif picture is None:
            self.rot.append(BrokenRecord("", key, Rot.NO_PICTURE))
        elif caption is None:
            self.rot.append(BrokenRecord("", key, Rot.NO_CAPTION))
        else:
            self.places.append((*picture, *parts[caption]))
            self.is_json.append(caption == "json")
            self.keys.append(key)

    def finish(self, error: Exception | None) -> TarIndex:
        """Close the last record; where the file ends with an error, that record is not to be trusted."""
        if error is None:
            self.close_record()
        elif not self.num_members:
            self.rot.append(BrokenRecord("", "", Rot.ARCHIVE, f"not a tar file ({error})"))
        else:
            self.rot.append(BrokenRecord("", self.key or "", Rot.TRUNCATED, str(error)))
        counts = Counter(self.keys)
        keys = tuple(self._distinct(counts))
        return TarIndex(
            np.array(self.places, np.int64).reshape(-1, 4),
            np.array(self.is_json, np.uint8),
            keys,
            tuple(self.rot),
        )

    def _distinct(self, counts: Counter[str]) -> list[str]:
        """Number the records of a key that comes back later in the file, so that messages name one."""
        seen: Counter[str] = Counter()
        names = []
        for key in self.keys:
            seen[key] += 1
            names.append(key if counts[key] == 1 else f"{key} ({seen[key]} of {counts[key]})")
        return names


def with_shard(rot: tuple[BrokenRecord, ...], shard: str) -> list[BrokenRecord]:
    """Say in which shard the broken records are."""
    return [replace(record, shard=shard) for record in rot]


def _save(index: TarIndex, target: object) -> None:
    rot = [(record.key, record.reason.value, record.detail) for record in index.rot]
    np.savez(
        target,  # type: ignore[arg-type]
        places=index.places,
        is_json=index.is_json,
        keys=np.frombuffer("\0".join(index.keys).encode("utf-8", "surrogateescape"), np.uint8),
        rot=np.frombuffer(json.dumps(rot).encode(), np.uint8),
    )


def _load(file: Path) -> TarIndex | None:
    """Read a remembered index; None where there is none or it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as content:
            places, is_json = content["places"], content["is_json"]
            text = content["keys"].tobytes().decode("utf-8", "surrogateescape")
            rot = json.loads(content["rot"].tobytes())
    except Exception:  # a damaged file is as good as none
        return None
    keys = tuple(text.split("\0")) if len(places) else ()
    if len(keys) != len(places):
        return None
    return TarIndex(places, is_json, keys, tuple(BrokenRecord("", k, Rot(r), d) for k, r, d in rot))
