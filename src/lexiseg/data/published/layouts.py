"""Layout: one way in which a benchmark lies on people's disks.

Where images, label files and lists are, and what the numbers in the label files mean. Most benchmarks
have several layouts, made by different toolkits.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import why_unsafe
from lexiseg.data.folder_lists import read_lines
from lexiseg.data.published.label_encodings import Encoding, LabelMapping


class Pair(NamedTuple):
    """An image and its label file."""

    stem: str
    image: Path
    label: Path


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which a benchmark lies on disks.

    Attributes:
        name: What it is called in commands and messages.
        images: Path of an image, with ``{folder}`` for the split's folder and ``{stem}``.
        labels: Path of its label file, likewise.
        code: What the numbers mean; a function of the root where the copy itself says.
        encoding: How the files keep numbers.
        lists: File with one stem a line, with ``{folder}``; None takes every image there is.
        folders: Split to folder (or list) name, where they differ.
        splits: Only these splits come in this layout; None for all.
        not_stems: Endings that mark label files of another layout in the same folder.
        applies: Tells, from the first label file, whether the layout is really this one.
        shrink_to: Images and labels with a longer short side are shrunk to it, in pixels.
        hint: Says what unknown values mean, e.g. that the files are of another version.
        expected_values: File values that every whole copy has; their absence is suspicious.
        missing_value_hint: What the absence of one of ``expected_values`` means.
        highest_label: The highest class value, where every whole copy has pixels of it: files with zero reduced in
            place lack it.
    """

    name: str
    images: str
    labels: str
    mapping: LabelMapping | Callable[[Path], LabelMapping]
    encoding: Encoding = "index"
    lists: str | None = None
    folders: Mapping[str, str] = field(default_factory=dict)
    splits: frozenset[str] | None = None
    not_stems: tuple[str, ...] = ()
    applies: Callable[[Path], bool] = lambda label: True
    shrink_to: int | None = None
    hint: Callable[[list[int]], str] = lambda values: ""
    expected_values: frozenset[int] = frozenset()
    missing_value_hint: str = ""
    highest_label: int | None = None

    def label_mapping(self, root: Path) -> LabelMapping:
        """Return the code of the copy at ``root``."""
        return self.mapping if isinstance(self.mapping, LabelMapping) else self.mapping(root)

    def label_path(self, root: Path, split: str, stem: str) -> Path:
        """Return where the label file of a stem belongs."""
        return root / self._fill(self.labels, split).replace("{stem}", stem)

    def image_path(self, root: Path, split: str, stem: str) -> Path:
        """Return where the image of a stem belongs."""
        return root / self._fill(self.images, split).replace("{stem}", stem)

    def holds(self, split: str) -> bool:
        """Return whether the split comes in this layout."""
        return self.splits is None or split in self.splits

    def is_at(self, root: Path, split: str) -> bool:
        """Return whether there is a label file of this layout for the split."""
        stems: Iterable[str]
        if not self.holds(split):
            return False
        if self.lists is not None:
            list_path = root / self._fill(self.lists, split)
            stems = _read_stems(list_path) if list_path.is_file() else ()
        elif "{stem}" in self.labels:
            stems = self._glob(root, self.labels, split)
        else:
            stems = self._glob(root, self.images, split)
        for stem in stems:
            label = self.label_path(root, split, stem)
            if label.is_file():
                return self.applies(label)
        return False

    def stems(self, root: Path, split: str) -> list[str]:
        """List the stems of a split, sorted: from its list, or else of all images and label files."""
        if self.lists is not None:
            return sorted(set(_read_stems(root / self._fill(self.lists, split))))
        stems = set(self._glob(root, self.images, split))
        if "{stem}" in self.labels:
            stems |= set(self._glob(root, self.labels, split))
        return sorted(stems)

    def list_path(self, root: Path, split: str) -> Path | None:
        """Return the file that lists the split, or None for layouts without lists."""
        return None if self.lists is None else root / self._fill(self.lists, split)

    def _fill(self, pattern: str, split: str) -> str:
        return pattern.replace("{folder}", self.folders.get(split, split))

    def _glob(self, root: Path, pattern: str, split: str) -> Iterable[str]:
        before, after = self._fill(pattern, split).split("{stem}")
        folder = root / before
        for path in folder.glob(f"**/*{after}") if folder.is_dir() else ():
            stem = path.relative_to(folder).as_posix().removesuffix(after)
            if not path.name.startswith(".") and not stem.endswith(self.not_stems or ("\0",)):
                yield stem


def _read_stems(path: Path) -> list[str]:
    words = [line.split()[0] for line in read_lines(path)]  # further columns: labels of other tasks
    for word in words:
        if why := why_unsafe(word):
            raise DatasetError(
                doing=f"reading the list {path}",
                found=f"{word!r}, {why}",
                expected="names of images below the data set's own folders",
                fix="Use the list as it was published.",
            )
    return [word.removesuffix(".jpg") for word in words]
