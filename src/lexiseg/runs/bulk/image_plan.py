"""ImagePlan: the images of a job, each with the stem of its results.

A million names take about 80 bytes each: they are kept as bytes, and paths are made of them when they are asked for.
"""

import hashlib
import os
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
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

#: Images that are taken in together.
_AT_ONCE = 4096


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
        self._firsts = array("q")  # hashes of the stems: of first choice, until stems are chosen
        self._folders: set[tuple[int, str]] = set()  # of images, below their roots
        self._stems: dict[int, str] = {}  # of those that did not get their first choice
        self._shards: dict[
            int, tuple[int, ShardListing]
        ] = {}  # by root: its first image, and all, one after the other

    def add_all(self, named: str, root: str, relatives: Iterable[str]) -> None:
        """Take images in: ``root/relative`` each, of a root that was named so."""
        number = self._root_numbers.setdefault((named, root), len(self._roots))
        if number == len(self._roots):
            self._roots.append((named, root))
        waiting = iter(relatives)
        while some := list(islice(waiting, _AT_ONCE)):
            self._extend(number, root, some)
            self._folders.update((number, folder) for folder in {each.rpartition(os.sep)[0] for each in some})

    def add_shard(self, named: str, listing: ShardListing) -> None:
        """Take the images of a shard in, once."""
        root = os.path.abspath(named)
        if self._root_numbers.setdefault((_SHARD, root), len(self._roots)) < len(self._roots):
            return
        number = len(self._roots)
        self._roots.append((named, root))
        self._shards[number] = len(self), listing
        names = listing.names
        self._extend(number, root, names if os.sep == "/" else [name.replace("/", os.sep) for name in names])

    @property
    def has_shards(self) -> bool:
        """Return whether some images are in shards."""
        return bool(self._shards)

    def _extend(self, number: int, root: str, relatives: Sequence[str]) -> None:
        of_shard = number in self._shards
        start = root if root.endswith(os.sep) else f"{root}{os.sep}"
        names = os.fsencode("".join(relatives))
        lengths = [len(each) for each in relatives]
        if sum(lengths) != len(names):  # letters of several bytes
            lengths = [len(os.fsencode(each)) for each in relatives]
        self._ends.frombytes((len(self._names) + np.cumsum(lengths, dtype=np.uint64)).tobytes())
        self._names += names
        self._root_of.extend([number] * len(lengths))
        self._places.extend([hash(start + each) for each in relatives])
        self._firsts.extend([hash(_first_choice(each, of_shard=of_shard)) for each in relatives])

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
        return _first_choice(self._relative(index), of_shard=self._root_of[index] in self._shards)

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
        without_suffix = _without_suffix(relative, of_shard=self._root_of[index] in self._shards)
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
        hashes = np.frombuffer(self._firsts, np.int64)  # kept true as stems change
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


def _first_choice(relative: str, *, of_shard: bool) -> str:
    """Return the stem that an image gets if nothing speaks against it: its name without suffix."""
    if not of_shard and os.sep == "/" and len(relative) < _SURELY_SHORT:  # as of most, five times as fast
        name, dot = relative.rfind("/") + 1, relative.rfind(".")
        if dot > name and relative[name] != ".":
            return relative[:dot]
    return shortened(_without_suffix(relative.replace(os.sep, "/"), of_shard=of_shard))


def _without_suffix(relative: str, *, of_shard: bool) -> str:
    """Cut the suffix off a name with slashes; of a key that ends like one, as v1.0 does, nothing is cut."""
    stem, suffix = os.path.splitext(relative)
    return relative if of_shard and suffix.lower() not in IMAGE_SUFFIXES else stem


def _groups_of_equal(hashes: np.ndarray) -> Iterator[list[int]]:
    """List the indices of values that occur more than once, ascending in each group."""
    ordered = np.sort(hashes)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(several):
        return
    places = np.minimum(np.searchsorted(several, hashes), len(several) - 1)
    found = np.flatnonzero(several[places] == hashes)
    order = found[np.argsort(hashes[found], kind="stable")]
    for run in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
        yield run.tolist()


@cache
def is_ours(base: str) -> bool:
    """Return whether files of this name are results of ours; remembered while the jobs are planned."""
    return read_facts(base + FACTS) is not None
