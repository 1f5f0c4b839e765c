"""The image files of a folder, and what in it is not looked at.

Every command that takes a folder of images lists it here: one list of suffixes, subfolders and linked
folders, one idea of what is nobody's data. What is passed over is counted by suffix or reason.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from lexiseg.core.file_names import is_clutter, is_system_file
from lexiseg.data.images import IMAGE_SUFFIXES

_NUM_NAMED = 3


class PassedOver:
    """Counts what a search for images does not look at, by suffix or reason.

    Attributes:
        names: Paths below the searched folder, by reason.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self.names)

    def add(self, reason: str, name: str) -> None:
        """Count one file or folder."""
        self.names[reason].append(name)

    def add_suffix(self, name: str) -> None:
        """Count a file that is no image by its suffix."""
        self.add(os.path.splitext(name)[1].lower() or "without suffix", name)

    def add_clutter(self, name: str) -> None:
        """Count what is hidden or left by a program; a file that a system writes everywhere is not worth a word."""
        if not is_system_file(os.path.basename(name)):
            self.add("hidden or left by a program", name)

    def forget(self, name: str) -> None:
        """Take back the count of a file that is looked at in another way."""
        self.names = defaultdict(
            list,
            {why: rest for why, names in self.names.items() if (rest := [n for n in names if n != name])},
        )

    def add_below(self, folder: str, inner: "PassedOver") -> None:
        """Take over the counts of a folder."""
        for reason, names in inner.names.items():
            self.names[reason] += [f"{folder}/{name}" for name in names]

    def text(self) -> str:
        """Write the counts, the largest first, each with its first names; empty where nothing was passed over."""
        parts = []
        for reason, names in sorted(self.names.items(), key=lambda item: (-len(item[1]), item[0])):
            more = ", …" if len(names) > _NUM_NAMED else ""
            parts.append(f"{len(names):,} {reason} ({', '.join(names[:_NUM_NAMED])}{more})")
        return ", ".join(parts)

    def note(self, where: str | Path) -> str:
        """Write a sentence about a folder; empty where nothing was passed over."""
        return f"not looked at in {where}: {self.text()}" if self else ""


def is_image_name(name: str) -> bool:
    """Return whether a file's suffix is one of an image that can be read here."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def walk_files(folder: str | Path, passed_over: PassedOver) -> Iterator[str]:
    """List everything but folders below a folder, relative to it: sorted, files before subfolders.

    Linked folders are followed, each real folder once. A link to what is searched anyway, or to a folder
    around the searched one, is passed over: it would give files twice or never end.
    """
    root = os.path.realpath(folder)
    yield from _walk(os.fspath(folder), "", root, {root}, passed_over)


def _walk(here: str, below: str, root: str, visited: set[str], passed_over: PassedOver) -> Iterator[str]:
    try:
        with os.scandir(here) as entries:  # which knows what is a folder without asking for each file
            found = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
    except OSError as error:
        passed_over.add(f"folder that cannot be read ({error.strerror})", below or os.curdir)
        return
    folders = []
    for name, is_folder, is_link in found:
        relative = os.path.join(below, name)
        if is_clutter(name):
            passed_over.add_clutter(relative)
        elif is_folder:
            folders.append((name, relative, is_link))
        else:
            yield relative
    for name, relative, is_link in folders:
        path = os.path.join(here, name)
        real = os.path.realpath(path)
        if real in visited or (is_link and (_holds(root, real) or _holds(real, root))):
            passed_over.add("link to a folder that is searched anyway or holds this one", relative)
            continue
        visited.add(real)
        yield from _walk(path, relative, root, visited, passed_over)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _holds(folder: str, inner: str) -> bool:
    return inner == folder or inner.startswith(os.path.join(folder, ""))


def list_images(folder: Path, passed_over: PassedOver | None = None) -> list[Path]:
    """List the images below a folder, with its subfolders, sorted.

    Args:
        folder: Where to look.
        passed_over: Counts what is not an image.
    """
    passed_over = PassedOver() if passed_over is None else passed_over
    return [
        folder / relative for relative in images_among(folder, walk_files(folder, passed_over), passed_over)
    ]


def images_among(folder: Path, relatives: Iterable[str], passed_over: PassedOver) -> Iterator[str]:
    """Choose the images of a list of files, and count the others."""
    for relative in relatives:
        if not is_image_name(relative):
            passed_over.add_suffix(relative)
        elif not os.path.isfile(folder / relative):
            passed_over.add("broken link or no plain file", relative)
        else:
            yield relative


def class_folders(folder: Path, passed_over: PassedOver | None = None) -> list[Path]:
    """List the folders directly in a folder, sorted, without those that are nobody's data.

    Args:
        folder: Holds a folder a class; one that does not exist has none.
        passed_over: Counts what is not such a folder.
    """
    passed_over = PassedOver() if passed_over is None else passed_over
    folders = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if is_clutter(path.name):
            passed_over.add_clutter(path.name)
        elif path.is_dir():
            folders.append(path)
        elif is_image_name(path.name):
            passed_over.add("image outside the folders of the classes", path.name)
        else:
            passed_over.add_suffix(path.name)
    return folders
