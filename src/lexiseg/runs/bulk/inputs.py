"""Which images a job is about, and where the results of each go: folders, globs, files and lists of names.

A million names take about 80 bytes each: they are kept as bytes, and paths are made of them when they are asked for.
"""

import hashlib
import os
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

import numpy as np

from lexiseg.core.errors import InputError
from lexiseg.core.result_files import (
    FACTS,
    LABELS,
    OVERLAY,
    RASTER_LABELS,
    file_digest,
    read_facts,
    result_paths,
    shortened,
)

if TYPE_CHECKING:
    from lexiseg.data.image_files import PassedOver

#: A list that is read from standard input.
STANDARD_INPUT = "-"
_LONGEST_NAME = 1 << 16

#: Letters of a name that no file system calls too long, whatever they are.
_SURELY_SHORT = 60


class ImagePlan(Sequence[tuple[Path, str]]):
    """Images, each with the stem of its results, in the order in which they were found, no image twice.

    Stems keep the subfolders of what was named. No two images share one, nothing that is not ours is overwritten, and
    no stem of an image depends on images whose own first choice is another.
    """

    def __init__(self) -> None:
        self._names = bytearray()  # of all images, below their roots, one after the other
        self._ends = array("Q")
        self._roots: list[tuple[str, str]] = []  # as it was named, for messages and the record; absolute
        self._root_numbers: dict[tuple[str, str], int] = {}
        self._root_of = array("I")
        self._places = array("q")  # hashes of absolute paths
        self._firsts = array("q")  # hashes of the stems of first choice
        self._folders: set[tuple[int, str]] = set()  # of images, below their roots
        self._stems: dict[int, str] = {}  # of those that did not get their first choice

    def add(self, named: str, root: str, relative: str) -> None:
        """Take an image in: ``root/relative``, of a root that was named so."""
        number = self._root_numbers.setdefault((named, root), len(self._roots))
        if number == len(self._roots):
            self._roots.append((named, root))
        folder, slash, name = relative.rpartition(os.sep)
        self._folders.add((number, folder))
        self._names += os.fsencode(relative)
        self._ends.append(len(self._names))
        self._root_of.append(number)
        self._places.append(hash(f"{root}{'' if root.endswith(os.sep) else os.sep}{relative}"))
        self._firsts.append(hash(_first_choice(f"{folder}{slash}", name)))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> tuple[Path, str]: ...
    @overload
    def __getitem__(self, index: slice) -> "list[tuple[Path, str]]": ...
    def __getitem__(self, index: int | slice) -> tuple[Path, str] | list[tuple[Path, str]]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        named, _ = self._roots[self._root_of[index]]
        return Path(named, self._relative(index)), self.stem(index)

    def stem(self, index: int) -> str:
        """Return the stem of one image's results."""
        found = self._stems.get(index)
        if found is not None:
            return found
        folder, slash, name = self._relative(index).rpartition(os.sep)
        return _first_choice(f"{folder}{slash}", name)

    def stems(self) -> Iterator[str]:
        """List the stems of all."""
        return map(self.stem, range(len(self)))

    def _relative(self, index: int) -> str:
        return os.fsdecode(bytes(self._names[self._ends[index - 1] if index else 0 : self._ends[index]]))

    def _place(self, index: int) -> str:
        return os.path.join(self._roots[self._root_of[index]][1], self._relative(index))

    def _choices(self, index: int) -> Iterator[str]:
        """Return stems for the results, the first for most images, each next one less likely taken.

        None depends on which other images there are, so that a new image never takes over
        the results of an old one.
        """
        given = self._relative(index)
        root = self._roots[self._root_of[index]][1]
        relative = given.replace(os.sep, "/")
        without_suffix = os.path.splitext(relative)[0]
        yield without_suffix
        yield relative
        if parent := os.path.basename(root):
            yield f"{parent}/{without_suffix}"
            yield f"{parent}/{relative}"
        place = os.path.join(root, given)
        yield f"{relative}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"

    def drop_repeats(self) -> None:
        """Keep each image once, where it was found first."""
        repeats = set()
        for group in _groups_of_equal(np.frombuffer(self._places, np.int64)):
            seen = set()
            for index in group:
                place = self._place(index)
                if place in seen:
                    repeats.add(index)
                seen.add(place)
        if not repeats:
            return
        kept = [index for index in range(len(self)) if index not in repeats]
        old, names, ends = self._relative, bytearray(), array("Q")
        for index in kept:
            names += os.fsencode(old(index))
            ends.append(len(names))
        self._root_of = array("I", (self._root_of[index] for index in kept))
        self._places = array("q", (self._places[index] for index in kept))
        self._firsts = array("q", (self._firsts[index] for index in kept))
        self._names, self._ends = names, ends

    def choose_stems(self, out: Path) -> None:
        """Give stems to those that cannot have their first choice."""
        results = os.path.realpath(out)
        near = self._folders_among(results)
        hashes = np.frombuffer(self._firsts, np.int64).copy()
        levels: dict[int, int] = {}
        choices: dict[int, Iterator[str]] = {}
        beside = [i for i in range(len(self)) if self._overwrites(results, i, near)] if near else []
        waiting = True
        while waiting:
            waiting = False
            owners: dict[str, list[int]] = defaultdict(list)
            for group in _groups_of_equal(hashes):
                for index in group:
                    owners[self.stem(index)].append(index)
            for index in beside:
                if index not in owners[self.stem(index)]:
                    owners[self.stem(index)].append(index)
            is_beside = set(beside)
            changed = []
            for indices in owners.values():
                if len(indices) == 1 and indices[0] not in is_beside:
                    continue
                lowest = min(levels.get(index, 0) for index in indices)
                for index in indices:
                    if levels.get(index, 0) != lowest:
                        continue
                    if index not in choices:
                        choices[index] = self._choices(index)
                        next(choices[index])
                    if (following := next(choices[index], None)) is not None:
                        self._stems[index] = shortened(following)
                        levels[index] = levels.get(index, 0) + 1
                        hashes[index] = hash(self._stems[index])
                        changed.append(index)
            waiting = bool(changed)
            moved = set(changed)
            beside = [i for i in beside if i not in moved] + [
                i for i in changed if self._overwrites(results, i, near)
            ]

    def _folders_among(self, results: str) -> set[str]:
        """Return the folders of images that results may lie in too: those of the results, and below."""
        found = {
            os.path.realpath(os.path.join(self._roots[root][1], folder)) for root, folder in self._folders
        }
        inside = os.path.join(results, "")
        return {folder for folder in found if folder == results or folder.startswith(inside)}

    def _overwrites(self, results: str, index: int, near: set[str]) -> bool:
        """Return whether results beside the images would replace images or files of other programs."""
        base = os.path.join(results, self.stem(index))
        if os.path.dirname(base) not in near:
            return False
        return any(os.path.lexists(base + end) for end in (LABELS, OVERLAY, FACTS)) and not _is_ours(base)


def _first_choice(folder: str, name: str) -> str:
    """Return the stem that an image gets if nothing speaks against it: its name without suffix."""
    stem = f"{folder}{os.path.splitext(name)[0]}"
    stem = stem if os.sep == "/" else stem.replace(os.sep, "/")
    return stem if len(name) < _SURELY_SHORT else shortened(stem)


def _groups_of_equal(hashes: np.ndarray) -> Iterator[list[int]]:
    """List the indices of values that occur more than once, ascending in each group."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    equal = np.flatnonzero(ordered[1:] == ordered[:-1])
    for run in np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1) if len(equal) else ():
        yield order[run[0] : run[-1] + 2].tolist()


def plan_images(
    patterns: tuple[str, ...],
    out: Path,
    passed_over: "PassedOver | None" = None,
    *,
    lists: Sequence[str] = (),
) -> ImagePlan:
    """List images with the stem of their results, which keep the subfolders of what was named.

    In folders and globs, hidden files and results of this command are no images. A file that is
    named itself, or in a list, is always taken; when it is missing or no image, reading it says so.

    Cost: a few microseconds and about 80 bytes an image.

    Args:
        patterns: Files, folders and globs.
        out: Folder of the results.
        passed_over: Counts what is not looked at; results of this command do not count.
        lists: Text files of names, one a line, as from the current folder; ``-`` for standard input.

    Raises:
        InputError: There is no image at all, or a list cannot be read.
    """
    from lexiseg.data.image_files import PassedOver
    from lexiseg.data.images import IMAGE_SUFFIXES

    passed_over = PassedOver() if passed_over is None else passed_over
    _is_ours.cache_clear()
    plan = ImagePlan()
    for pattern in patterns:
        _search(pattern, out, plan, passed_over)
    for name in lists:
        _read_list(name, plan)
    if not len(plan):
        raise InputError(
            doing=f"looking for images in {', '.join([*patterns, *lists]) or 'nothing'}",
            found=f"none; {passed_over.text()}" if passed_over else "none",
            expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
            fix="Name an image, a folder or a glob: lexiseg segment photos/ --words …",
        )
    plan.drop_repeats()
    plan.choose_stems(out)
    return plan


def _search(pattern: str, out: Path, plan: ImagePlan, passed_over: "PassedOver") -> None:
    from lexiseg.data.image_files import is_image_name, walk_files

    # os.path answers False where Path raises: names that are too long, links in a circle
    if os.path.isdir(pattern):
        root = os.path.abspath(pattern)
        relatives: Iterable[str] = walk_files(pattern, passed_over)
    elif not os.path.lexists(pattern) and (matches := sorted(glob(pattern, recursive=True))):
        pattern = _root_of_glob(pattern)
        root, relatives = os.path.abspath(pattern), _files(matches, pattern, passed_over)
    else:
        path = Path(pattern)
        plan.add(str(path.parent), os.path.abspath(path.parent), path.name)
        return
    results = _inside(os.path.realpath(root), os.path.realpath(out))
    for relative in relatives:
        if results is not None and relative.startswith(results):
            continue
        if not is_image_name(relative):
            if not _is_facts(os.path.join(root, relative)):
                passed_over.add_suffix(relative)
            continue
        if not _is_result(os.path.join(root, relative)):
            plan.add(pattern, root, relative)


def _read_list(name: str, plan: ImagePlan) -> None:
    """Take in what a list names; results keep the folders that are written there."""
    doing = "reading the list on standard input" if name == STANDARD_INPUT else f"reading the list {name}"
    here = os.getcwd()
    try:
        with _opened_list(name) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_NAME), b""), start=1):
                if b"\0" in line or len(line) == _LONGEST_NAME:
                    raise InputError(
                        doing=doing,
                        found=f"no text in line {number:,}",
                        expected="the path of an image in each line",
                        fix="Write one by: find photos -name '*.jpg' > list.txt; name images themselves without --list.",
                    )
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                text = os.fsdecode(line.rstrip(b"\r\n"))
                if not text.strip():
                    continue
                if "./" in text or "//" in text:
                    text = os.path.normpath(text)
                if os.path.isabs(text) or text.startswith(os.pardir):
                    drive, place = os.path.splitdrive(os.path.abspath(text))
                    root = drive + os.sep
                    plan.add(root, root, place.lstrip(os.sep))
                else:
                    plan.add(os.curdir, here, text)
    except OSError as error:
        raise InputError(
            doing=doing,
            found=error.strerror or str(error),
            expected="a text file with the path of an image in each line",
            fix="Check its path.",
        ) from error


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
    return any(path.endswith(end) and _is_ours(path.removesuffix(end)) for end in ends)


def _is_facts(path: str) -> bool:
    return path.endswith(FACTS) and _is_ours(path.removesuffix(FACTS))


@cache
def _is_ours(base: str) -> bool:
    """Return whether files of this name are results of ours; remembered while the jobs are planned."""
    return read_facts(base + FACTS) is not None


def is_done(out: Path, stem: str, image: Mapping[str, Any] | None, request: Mapping[str, Any]) -> bool:
    """Return whether all results are there, of this very image, and made by the same request.

    The label map must be the one that the facts were written with, byte for byte.

    Args:
        out: Folder of the results.
        stem: As ``plan_images`` gave it.
        image: What ``image_facts`` says of the image now.
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
