"""What lies where in webdataset tar shards: an index of their headers, remembered on disk.

The layout is webdataset's: members that follow each other under one key are one record; the key is the name up to the
first dot of its last part, the extension is the rest, in any case.
"""

import hashlib
import json
import os
import posixpath
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.cache_folder import make_private
from lexiseg.core.errors import OutputError
from lexiseg.core.file_names import is_clutter, is_system_file
from lexiseg.core.folder_lock import in_turn
from lexiseg.core.json_text import decode_json
from lexiseg.data.captions.packed_keys import PackedKeys
from lexiseg.data.captions.records import InvalidReason, InvalidRecord
from lexiseg.data.images import IMAGE_SUFFIXES
from lexiseg.data.labelled_dataset import add_to_digest

#: The usual ones first: where a record has several images, the first of these is taken.
IMAGE_EXTENSIONS = tuple(
    dict.fromkeys(
        ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", *sorted(s[1:] for s in IMAGE_SUFFIXES)]
    )
)
#: In the order in which they are preferred where a record has several.
CAPTION_EXTENSIONS = ("txt", "caption", "text", "json")
_FORMAT = 3  # of the remembered index: another number is never read
#: Longer names, and headers that hold them, are no data of anybody; reading them can take for ever.
_MAX_NAME = 4096
_MAX_HEADER_BYTES = 1 << 16
_META = re.compile(r"__[^/]*__($|/)")  # webdataset's skip_meta


@dataclass(frozen=True)
class TarIndex:
    """The usable records of one tar file, in its order, and its invalid.

    Attributes:
        places: A row a record: start and length of the image, start and length of the caption.
        is_json: 1 where the caption is JSON.
        keys: Names of the records.
        invalid: What cannot be used, with an empty shard name.
        passed_over: Number of members that belong to no record, by suffix or kind.
        images: A row an image, of every record that has one, with a caption or without: start and length.
        image_names: Names of their members, all different.
    """

    places: Int64[np.ndarray, "N 4"]
    is_json: UInt8[np.ndarray, " N"]
    keys: PackedKeys
    invalid: tuple[InvalidRecord, ...]
    passed_over: Mapping[str, int]
    images: Int64[np.ndarray, "M 2"]
    image_names: PackedKeys

    def without_images(self) -> "TarIndex":
        """Return what captions need of it."""
        return replace(self, images=self.images[:0].copy(), image_names=PackedKeys.of(()))


def index_tars(paths: Sequence[Path], cache: Path | None) -> list[TarIndex]:
    """Return the index of every shard: from the cache where the file is the same as then, else from its headers.

    Of several processes on a machine that open the same data at once the first reads the headers, by as many processes as there
    are cores where there is much to read; the others wait and read the cache.

    Cost: about 1 s for 30,000 members the first time; the file in the cache takes some 110 bytes a record.

    Args:
        paths: Uncompressed tar files.
        cache: Folder of remembered indices; None remembers nothing.
    """
    if cache is None:
        return _read_all(paths, None)
    found = [_remembered(path, cache) for path in paths]
    if None in found:
        with ExitStack() as stack:
            try:
                make_private(_folder(cache))
                stack.enter_context(in_turn(_folder(cache)))
            except OutputError:  # nothing can be remembered there; each file says so
                pass
            found = [known or _remembered(path, cache) for known, path in zip(found, paths, strict=True)]
            missing = [path for known, path in zip(found, paths, strict=True) if known is None]
            read = iter(_read_all(missing, cache))
            found = [known or next(read) for known in found]
    return [known for known in found if known is not None]


def index_tar(path: Path, cache: Path | None) -> TarIndex:
    """Return the index of one shard; see ``index_tars``."""
    return index_tars([path], cache)[0]


#: Smaller sets of shards are read sooner than processes start.
_MUCH_BYTES = 1 << 30


def _read_all(paths: Sequence[Path], cache: Path | None) -> list[TarIndex]:
    """Read the headers of files, and remember what was found."""
    workers = min(len(paths), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    read = partial(_read_and_remember, cache=cache)
    if workers < 2 or sum(path.stat().st_size for path in paths) < _MUCH_BYTES:
        return [read(path) for path in paths]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(read, paths))


def _read_and_remember(path: Path, cache: Path | None) -> TarIndex:
    index = read_tar_index(path)
    if cache is not None:
        try:
            make_private(_folder(cache))
            with atomic_path(_file(path, cache), durable=False) as temporary, temporary.open("wb") as target:
                _save(index, target)
        except OutputError as error:
            warnings.warn(f"the index of {path.name} is not remembered: {error}", stacklevel=2)
    return index


def _remembered(path: Path, cache: Path) -> TarIndex | None:
    file = _file(path, cache)
    return _load(file) if file.exists() else None


def _folder(cache: Path) -> Path:
    return cache / "captions"


def _file(path: Path, cache: Path) -> Path:
    state = path.stat()
    identity = f"{_FORMAT}|{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    return _folder(cache) / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"


def read_tar_index(path: Path) -> TarIndex:
    """Read the headers of a tar file; what is broken is listed, never raised."""
    builder = _Builder()
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:", tarinfo=_Member) as archive:
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


class _Member(tarfile.TarInfo):
    """A member whose further headers are small: tarfile reads them whole, and searches them by slow expressions."""

    _WITH_DATA = (
        tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    )  # fmt: skip

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in self._WITH_DATA and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def _refuse_other_end(path: Path, end: int) -> None:
    """Raise where the headers do not end with a block of zeros: tarfile takes any damage for the end."""
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
        self.images: list[tuple[int, int]] = []
        self.image_names: list[str] = []
        self.invalid: list[InvalidRecord] = []
        self.key: str | None = None
        self.parts: dict[str, tuple[int, int]] = {}
        self.doubled = ""
        self.num_members = 0
        self.passed_over: Counter[str] = Counter()

    def add(self, member: tarfile.TarInfo) -> None:
        self.num_members += 1
        if len(member.name) > _MAX_NAME:
            self.passed_over[f"names of more than {_MAX_NAME:,} letters"] += 1
            return
        if "\0" in member.name:
            self.passed_over["names with a zero byte"] += 1
            return
        if member.isdir() or _META.match(member.name):
            return
        folders, name = posixpath.split(member.name)
        if is_clutter(name) or any(is_clutter(part) for part in folders.split("/") if part[:1] != "."):
            if not is_system_file(name):
                self.passed_over["hidden or left by a program"] += 1
            return
        stem, dot, extension = name.partition(".")  # webdataset's base_plus_ext
        if not member.isreg() or not dot:
            self.passed_over["without suffix" if member.isreg() else "links and special files"] += 1
            return
        key, extension = f"{member.name.removesuffix(name)}{stem}", extension.lower()
        if key != self.key:
            self.close_record()
            self.key = key
        if extension in self.parts:
            self.doubled = extension
        self.parts[extension] = (member.offset_data, member.size)

    def close_record(self) -> None:
        """Check the record that is complete; a key without image and caption files is no record."""
        key, parts, doubled = self.key, self.parts, self.doubled
        self.key, self.parts, self.doubled = None, {}, ""
        photo = next((name for name in IMAGE_EXTENSIONS if name in parts), None)
        image = None if photo is None else parts[photo]
        caption = next((name for name in CAPTION_EXTENSIONS if name in parts), None)
        if key is None:
            return
        dotted = [name for name in parts if self._is_lost(name, parts, has_image=image is not None)]
        for name in [*([] if photo is None else [photo]), *dotted]:
            self.images.append(parts[name])
            self.image_names.append(f"{key}.{name}")
        for name in dotted:  # webdataset splits a name at its first dot, so such an image pairs with nothing
            detail = (
                f"{key.rpartition('/')[2]}.{name}: the key ends at the first dot, so no caption belongs to it"
            )
            self.invalid.append(
                InvalidRecord("", f"{key}.{name.rpartition('.')[0]}", InvalidReason.DOTTED, detail)
            )
        if image is None and caption is None:
            rest = [name for name in parts if name not in dotted and not self._belongs(name, dotted)]
            self.passed_over.update(f".{name}" for name in rest)
            return
        if doubled:
            self.invalid.append(InvalidRecord("", key, InvalidReason.TWICE, f"two .{doubled}"))
        elif image is None:
            self.invalid.append(InvalidRecord("", key, InvalidReason.NO_IMAGE))
        elif caption is None:
            self.invalid.append(InvalidRecord("", key, InvalidReason.NO_CAPTION))
        else:
            self.places.append((*image, *parts[caption]))
            self.is_json.append(caption == "json")
            self.keys.append(key)

    @staticmethod
    def _is_lost(name: str, parts: Mapping[str, object], *, has_image: bool) -> bool:
        """Return whether an extension is an image whose own name holds a dot, not a further part such as seg.png."""
        before, dot, last = name.rpartition(".")
        if not dot or last not in IMAGE_EXTENSIONS:
            return False
        return not has_image or any(f"{before}.{caption}" in parts for caption in CAPTION_EXTENSIONS)

    @staticmethod
    def _belongs(name: str, dotted: list[str]) -> bool:
        """Return whether a member is the caption of an image with a dot in its name, which is counted already."""
        return name.rpartition(".")[0] in {image.rpartition(".")[0] for image in dotted}

    def finish(self, error: Exception | None) -> TarIndex:
        """Close the last record; where the file ends with an error, that record is not to be trusted."""
        if error is None:
            self.close_record()
        elif not self.num_members:
            self.invalid.append(InvalidRecord("", "", InvalidReason.ARCHIVE, f"not a tar file ({error})"))
        else:
            self.invalid.append(InvalidRecord("", self.key or "", InvalidReason.TRUNCATED, str(error)))
        return TarIndex(
            np.array(self.places, np.int64).reshape(-1, 4),
            np.array(self.is_json, np.uint8),
            PackedKeys.of(_numbered(self.keys)),
            tuple(self.invalid),
            dict(self.passed_over),
            np.array(self.images, np.int64).reshape(-1, 2),
            PackedKeys.of(distinct(self.image_names)),
        )


def _numbered(keys: Sequence[str]) -> Iterator[str]:
    """Number the records of a key that comes back later in the file, so that messages name one."""
    counts, seen = Counter(keys), Counter[str]()
    for key in keys:
        seen[key] += 1
        yield key if counts[key] == 1 else f"{key} ({seen[key]} of {counts[key]})"


def distinct(names: Sequence[str]) -> Iterator[str]:
    """Number names that come back, before their suffix: the first of them stays as it is."""
    taken = set(names)
    seen: set[str] = set()
    for name in names:
        number, chosen = 1, name
        while chosen in seen or (number > 1 and chosen in taken):
            number += 1
            stem, suffix = posixpath.splitext(name)
            chosen = f"{stem} ({number}){suffix}"
        seen.add(chosen)
        yield chosen


def with_shard(invalid: tuple[InvalidRecord, ...], shard: str) -> list[InvalidRecord]:
    """Return the invalid records with the name of their shard."""
    return [replace(record, shard=shard) for record in invalid]


def _save(index: TarIndex, target: object) -> None:
    invalid = [(record.key, record.reason.value, record.detail) for record in index.invalid]
    arrays = {
        "places": index.places,
        "is_json": index.is_json,
        "keys": np.frombuffer(index.keys.content, np.uint8),
        "images": index.images,
        "image_names": np.frombuffer(index.image_names.content, np.uint8),
        "invalid": np.frombuffer(json.dumps(invalid).encode(), np.uint8),
        "passed_over": np.frombuffer(json.dumps(dict(index.passed_over)).encode(), np.uint8),
    }
    np.savez(target, **arrays, digest=_digest(arrays))  # type: ignore[arg-type]


def _digest(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Hash arrays with their shapes; zip's own checksums do not cover names, nor the headers of arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        add_to_digest(
            digest, f"{name}{arrays[name].shape}{arrays[name].dtype}".encode(), arrays[name].tobytes()
        )
    return np.frombuffer(digest.digest(), np.uint8)


def _load(file: Path) -> TarIndex | None:
    """Read a remembered index; None where there is none or it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files if name != "digest"}
            if not np.array_equal(content["digest"], _digest(arrays)):
                return None
        places = arrays["places"]
        invalid = decode_json(arrays["invalid"].tobytes())
        passed_over = decode_json(arrays["passed_over"].tobytes())
        keys = PackedKeys(arrays["keys"].tobytes(), len(places))
        images = arrays["images"]
        image_names = PackedKeys(arrays["image_names"].tobytes(), len(images))
        records = tuple(InvalidRecord("", k, InvalidReason(r), d) for k, r, d in invalid)
    except Exception:  # a damaged file is as good as none
        return None
    return TarIndex(places, arrays["is_json"], keys, records, passed_over, images, image_names)
