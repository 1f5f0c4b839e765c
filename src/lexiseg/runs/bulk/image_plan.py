"""ImagePlan: the images of a job, each with the stem of its results.

A million names take about 80 bytes each: they are kept as bytes, and paths are made of them when they are asked for.
"""

import hashlib
import os
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np

from lexiseg.core.result_files import FACTS, LABELS, OVERLAY, read_facts, shortened
from lexiseg.data.image_shards import ShardImage, ShardListing
from lexiseg.data.images import IMAGE_SUFFIXES

#: Where an image is: its file, or its place in a shard.
PlannedImage: TypeAlias = Path | ShardImage

#: Letters of a name that no file system calls too long, whatever they are.
_SURELY_SHORT = 60


#: Stands for what a shard was named: one is taken once, whatever it was called.
_SHARD = "\0"


class ImagePlan(Sequence[tuple[PlannedImage, str]]):
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
        self._shards: dict[
            int, tuple[int, ShardListing]
        ] = {}  # by root: its first image, and all, one after the other

    def add(self, named: str, root: str, relative: str) -> None:
        """Take an image in: ``root/relative``, of a root that was named so."""
        number = self._root_numbers.setdefault((named, root), len(self._roots))
        if number == len(self._roots):
            self._roots.append((named, root))
        self._append(number, root, relative)

    def add_shard(self, named: str, listing: ShardListing) -> None:
        """Take the images of a shard in, once."""
        root = os.path.abspath(named)
        if self._root_numbers.setdefault((_SHARD, root), len(self._roots)) < len(self._roots):
            return
        number = len(self._roots)
        self._roots.append((named, root))
        self._shards[number] = len(self), listing
        for relative in listing.names:
            self._append(number, root, relative if os.sep == "/" else relative.replace("/", os.sep))

    @property
    def has_shards(self) -> bool:
        """Return whether some images are in shards."""
        return bool(self._shards)

    def _append(self, number: int, root: str, relative: str) -> None:
        folder, slash, name = relative.rpartition(os.sep)
        if number not in self._shards:
            self._folders.add((number, folder))
        self._names += os.fsencode(relative)
        self._ends.append(len(self._names))
        self._root_of.append(number)
        self._places.append(hash(f"{root}{'' if root.endswith(os.sep) else os.sep}{relative}"))
        self._firsts.append(hash(_first_choice(f"{folder}{slash}", name, of_shard=number in self._shards)))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> tuple[PlannedImage, str]: ...
    @overload
    def __getitem__(self, index: slice) -> "list[tuple[PlannedImage, str]]": ...
    def __getitem__(self, index: int | slice) -> tuple[PlannedImage, str] | list[tuple[PlannedImage, str]]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        root = self._root_of[index]
        named, _ = self._roots[root]
        if root not in self._shards:
            return Path(named, self._relative(index)), self.stem(index)
        first, listing = self._shards[root]
        row = index - first
        image = ShardImage(
            file=Path(named),
            name=listing.names[row],
            place=(int(listing.places[row, 0]), int(listing.places[row, 1])),
            column=listing.column,
            problem=listing.problems.get(row, ""),
        )
        return image, self.stem(index)

    def stem(self, index: int) -> str:
        """Return the stem of one image's results."""
        found = self._stems.get(index)
        if found is not None:
            return found
        folder, slash, name = self._relative(index).rpartition(os.sep)
        return _first_choice(f"{folder}{slash}", name, of_shard=self._root_of[index] in self._shards)

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
        folder, slash, name = relative.rpartition("/")
        without_suffix = folder + slash + _without_suffix(name, of_shard=self._root_of[index] in self._shards)
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
        self._shards = {
            root: (bisect_left(kept, first), listing) for root, (first, listing) in self._shards.items()
        }

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
        return any(os.path.lexists(base + end) for end in (LABELS, OVERLAY, FACTS)) and not is_ours(base)


def _first_choice(folder: str, name: str, *, of_shard: bool) -> str:
    """Return the stem that an image gets if nothing speaks against it: its name without suffix."""
    stem = f"{folder}{_without_suffix(name, of_shard=of_shard)}"
    stem = stem if os.sep == "/" else stem.replace(os.sep, "/")
    return stem if len(name) < _SURELY_SHORT else shortened(stem)


def _without_suffix(name: str, *, of_shard: bool) -> str:
    """Cut the suffix off a name; of a key that ends like one, as v1.0 does, nothing is cut."""
    stem, suffix = os.path.splitext(name)
    return name if of_shard and suffix.lower() not in IMAGE_SUFFIXES else stem


def _groups_of_equal(hashes: np.ndarray) -> Iterator[list[int]]:
    """List the indices of values that occur more than once, ascending in each group."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    equal = np.flatnonzero(ordered[1:] == ordered[:-1])
    for run in np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1) if len(equal) else ():
        yield order[run[0] : run[-1] + 2].tolist()


@cache
def is_ours(base: str) -> bool:
    """Return whether files of this name are results of ours; remembered while the jobs are planned."""
    return read_facts(base + FACTS) is not None
