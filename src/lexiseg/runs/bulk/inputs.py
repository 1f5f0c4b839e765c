"""Which images a job is about: folders, globs, files, lists of names and shards; and what is there of their results."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lexiseg.core.cache_folder import default_cache
from lexiseg.core.errors import InputError
from lexiseg.core.result_files import (
    FACTS,
    LABELS,
    OVERLAY,
    RASTER_LABELS,
    file_digest,
    image_facts,
    read_facts,
    result_paths,
)
from lexiseg.data.image_shards import COMPRESSED_TARS, expand_braces, is_shard_name, list_shard
from lexiseg.data.images import IMAGE_SUFFIXES
from lexiseg.runs.bulk.image_plan import ImagePlan, PlannedImage, is_ours

if TYPE_CHECKING:
    from lexiseg.data.image_files import PassedOver

#: A list that is read from standard input.
STANDARD_INPUT = "-"
_LONGEST_NAME = 1 << 16

#: Bytes of a list that are read together.
_BLOCK = 1 << 20

#: In the place of a root: a name is a shard's.
_SHARDS = "shards"


@dataclass(frozen=True, kw_only=True)
class ShardColumns:
    """What columns of Parquet files are called, where it is not what is usual.

    Attributes:
        image: Of images, or of paths.
        key: Of their names.
    """

    image: str | None = None
    key: str | None = None


def plan_images(
    patterns: tuple[str, ...],
    out: Path,
    passed_over: "PassedOver | None" = None,
    *,
    lists: Sequence[str] = (),
    columns: ShardColumns = ShardColumns(),
) -> ImagePlan:
    """List images with the stem of their results, which keep the subfolders of what was named.

    In folders and globs, hidden files and results of this command are no images. A file that is
    named itself, or in a list, is always taken; when it is missing or no image, reading it says so. Tar and Parquet files that
    are named, in a list, by a glob that ends so or by braces, stand for the images in them; in folders they are passed over.

    Cost: a few microseconds and about 80 bytes an image, 120 in shards.

    Args:
        patterns: Files, folders, globs, shards and patterns of shards with braces.
        out: Folder of the results.
        passed_over: Counts what is not looked at; results of this command do not count.
        lists: Text files of names, one a line, as from the current folder; ``-`` for standard input.
        columns: Of Parquet files.

    Raises:
        InputError: There is no image at all, or a list or shard cannot be used.
        MissingPackageError: Parquet without pyarrow, a pattern with braces without webdataset.
    """
    from lexiseg.data.image_files import PassedOver

    passed_over = PassedOver() if passed_over is None else passed_over
    is_ours.cache_clear()
    plan = ImagePlan()
    for pattern in patterns:
        for one in expand_braces(pattern, "looking for images") if is_shard_name(pattern) else (pattern,):
            _search(one, out, plan, passed_over, columns)
    for name in lists:
        _read_list(name, plan, columns)
    if not len(plan):
        raise InputError(
            doing=f"looking for images in {', '.join([*patterns, *lists]) or 'nothing'}",
            found=f"none; {passed_over.text()}" if passed_over else "none",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            fix="Name an image, a folder, a glob, or shards: lexiseg segment 'shards/*.tar' --words …",
        )
    plan.drop_repeats()
    plan.choose_stems(out)
    return plan


def _search(
    pattern: str, out: Path, plan: ImagePlan, passed_over: "PassedOver", columns: ShardColumns
) -> None:
    from lexiseg.data.image_files import is_image_name, walk_files

    # os.path answers False where Path raises: names that are too long, links in a circle
    if os.path.isdir(pattern):
        root = os.path.abspath(pattern)
        relatives: Iterable[str] = walk_files(pattern, passed_over)
    elif not os.path.lexists(pattern) and (matches := sorted(glob(pattern, recursive=True))):
        if is_shard_name(pattern):
            for match in matches:
                _add_shard(match, plan, columns)
            return
        pattern = _root_of_glob(pattern)
        root, relatives = os.path.abspath(pattern), _files(matches, pattern, passed_over)
    elif is_shard_name(pattern) or pattern.lower().endswith(COMPRESSED_TARS):
        _add_shard(pattern, plan, columns)
        return
    else:
        path = Path(pattern)
        plan.add_all(str(path.parent), os.path.abspath(path.parent), [path.name])
        return
    results = _inside(os.path.realpath(root), os.path.realpath(out))

    def images() -> Iterator[str]:
        for relative in relatives:
            if results is not None and relative.startswith(results):
                continue
            if not is_image_name(relative):
                if not _is_facts(os.path.join(root, relative)):
                    passed_over.add_suffix(relative)
            elif not _is_result(os.path.join(root, relative)):
                yield relative

    plan.add_all(pattern, root, images())


def _add_shard(name: str, plan: ImagePlan, columns: ShardColumns) -> None:
    """Take the images of a shard in.

    Raises:
        InputError: There is no such file, or it is compressed.
    """
    if name.lower().endswith(COMPRESSED_TARS) or not os.path.isfile(name):
        is_there = os.path.isfile(name)
        raise InputError(
            doing=f"looking for images in {name}",
            found="a compressed tar file" if is_there else "no such file",
            expected="a tar file without compression, or Parquet",
            fix="Unpack it (gunzip, unzstd, …): it is read from the middle."
            if is_there
            else "Check its path.",
        )
    listing = list_shard(
        Path(name), cache=default_cache(), image_column=columns.image, key_column=columns.key
    )
    plan.add_shard(name, listing)


def _read_list(name: str, plan: ImagePlan, columns: ShardColumns) -> None:
    """Take in what a list names; results keep the folders that are written there."""
    doing = "reading the list on standard input" if name == STANDARD_INPUT else f"reading the list {name}"
    here = os.getcwd()
    try:
        with _opened_list(name) as file:
            for root, texts in groupby(_names_in(file, doing), _root_of_name):
                if root == _SHARDS:
                    for text in texts:
                        _add_shard(text, plan, columns)
                elif root == os.curdir:
                    plan.add_all(root, here, texts)
                else:
                    plan.add_all(root, root, map(_below_root, texts))
    except OSError as error:
        raise InputError(
            doing=doing,
            found=error.strerror or str(error),
            expected="a text file with the path of an image in each line",
            fix="Check its path.",
        ) from error


def _names_in(file: BinaryIO, doing: str) -> Iterator[str]:
    """Read the lines of a list, without those that are empty; what names a folder twice is written as the system would.

    Raises:
        InputError: It is no text.
    """
    count, data = 0, file.read(_BLOCK)
    while data:
        whole, newline, rest = data.rpartition(b"\n")
        texts = os.fsdecode(whole).split("\n") if newline else []
        if texts and not count:
            texts[0] = texts[0].removeprefix("\ufeff")
        if b"\0" in data or max(len(rest), *map(len, texts), 0) >= _LONGEST_NAME:
            wrong = [place for place, text in enumerate(texts) if "\0" in text or len(text) >= _LONGEST_NAME]
            raise InputError(
                doing=doing,
                found=f"no text in line {count + 1 + (wrong[0] if wrong else len(texts)):,}",
                expected="the path of an image in each line",
                fix="Write one by: find photos -name '*.jpg' > list.txt; name images themselves without --list.",
            )
        is_plain = not any(mark in whole for mark in (b"\r", b"//", b"./", b"/."))
        for text in texts:
            if not text or text.isspace():
                continue
            yield text if is_plain else _as_usual(text.rstrip("\r"))
        count += len(texts)
        following = file.read(_BLOCK)
        data = rest + following if following else (rest + b"\n" if rest else b"")


def _as_usual(name: str) -> str:
    return os.path.normpath(name) if "//" in name or "./" in name or "/." in name else name


def _root_of_name(name: str) -> str:
    """Return below what a name of a list is looked for: the current folder, or its drive; or that it is a shard."""
    if is_shard_name(name):
        return _SHARDS
    if os.sep == "/":
        return os.sep if name.startswith(("/", os.pardir)) else os.curdir
    is_elsewhere = name.startswith(os.pardir) or os.path.isabs(name)
    return os.path.splitdrive(os.path.abspath(name))[0] + os.sep if is_elsewhere else os.curdir


def _below_root(name: str) -> str:
    place = name if name.startswith("/") and os.sep == "/" else os.path.abspath(name)
    return os.path.splitdrive(place)[1].lstrip(os.sep)


def _opened_list(name: str) -> BinaryIO:
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb") if name == STANDARD_INPUT else open(name, "rb")


def _root_of_glob(pattern: str) -> str:
    """Return the folder before the first part of a pattern that holds a wildcard."""
    root = pattern
    while has_magic(root):
        root = os.path.dirname(root)
    return root or os.curdir


def _files(matches: list[str], root: str, passed_over: "PassedOver") -> Iterator[str]:
    """List the files among what a glob matched, and those in its folders, relative to its root."""
    from lexiseg.data.image_files import walk_files

    for match in matches:
        relative = os.path.relpath(match, root)
        if os.path.isdir(match):
            yield from (
                os.path.normpath(os.path.join(relative, inner)) for inner in walk_files(match, passed_over)
            )
        else:
            yield relative


def _inside(folder: str, out: str) -> str | None:
    """Return the start of relative paths of what lies in ``out``, where that is a part of ``folder``."""
    start = os.path.join(folder, "")
    return os.path.join(out[len(start) :], "") if out.startswith(start) and out != start else None


def _is_result(path: str) -> bool:
    ends = (LABELS, OVERLAY, RASTER_LABELS)
    return any(path.endswith(end) and is_ours(path.removesuffix(end)) for end in ends)


def _is_facts(path: str) -> bool:
    return path.endswith(FACTS) and is_ours(path.removesuffix(FACTS))


def facts_of(image: PlannedImage) -> dict[str, Any] | None:
    """Return what tells an image from every other, as ``image_facts`` does; of one in a shard, with its name and length."""
    if isinstance(image, Path):
        return image_facts(image)
    facts = image_facts(image.file)
    if facts is None:
        return None
    num_bytes = facts["bytes"] if image.column else image.place[1]
    return {**facts, "path": os.path.join(facts["path"], image.name), "bytes": num_bytes}


def is_done(out: Path, stem: str, image: Mapping[str, Any] | None, request: Mapping[str, Any]) -> bool:
    """Return whether all results are there, of this very image, and made by the same request.

    The label map must be the one that the facts were written with, byte for byte.

    Args:
        out: Folder of the results.
        stem: As ``plan_images`` gave it.
        image: What ``facts_of`` says of the image now.
        request: What ``Segmenter.describe`` says of the words and settings.
    """
    paths = result_paths(out, stem)
    if image is None or not (os.path.isfile(paths["labels"]) and os.path.isfile(paths["overlay"])):
        return False
    wanted = {**request, "image": dict(image)}
    facts = read_facts(paths["json"])
    if facts is None or {key: facts.get(key) for key in wanted} != wanted:
        return False
    try:
        return facts.get("labels_sha256") == file_digest(paths["labels"])
    except OSError:
        return False
