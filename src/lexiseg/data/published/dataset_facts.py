"""DatasetFacts: what is known of a published benchmark before any copy of it is seen.

The families (voc.py, context.py, …) only declare facts and layouts; one reader, one check and one
converter serve all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lexiseg.core.errors import UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.folder_lists import first_of, folder_error
from lexiseg.data.published.layouts import Layout


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What is known of a benchmark before any copy of it is seen.

    Attributes:
        name: Under which it is found, with the number of classes scored.
        title: Full name and what the variant is.
        num_classes: Entries of the vocabulary, a scored background included.
        background: What becomes of pixels that are none of the classes.
        splits: Split to number of images; several numbers where publications differ.
        default_split: The split that numbers are reported on.
        tree: The tree people have, as text.
        rule: How label files are to be read, in words.
        licence: Licence of images and labels.
        source: Where to get it.
        layouts: In the order in which they are looked for.
        read_vocabulary: Gives the classes, from this package or from the copy at a root.
        roots: Subfolders in which the tree may begin.
        category_ids: Id of each class in the publisher's own JSON, None for a class that has none there; None
            altogether where there is no such JSON.
    """

    name: str
    title: str
    num_classes: int
    background: str
    splits: Mapping[str, tuple[int, ...]]
    default_split: str
    tree: str
    rule: str
    licence: str
    source: str
    layouts: tuple[Layout, ...]
    read_vocabulary: Callable[[Path], Vocabulary]
    roots: tuple[str, ...] = ("",)
    category_ids: tuple[int | None, ...] | None = None

    def layout(self, name: str) -> Layout:
        """Look up a layout by name.

        Raises:
            UnknownNameError: There is none of that name.
        """
        by_name = {layout.name: layout for layout in self.layouts}
        if name not in by_name:
            raise UnknownNameError.of(f"layout of {self.name}", name, by_name)
        return by_name[name]

    def find(self, path: Path, split: str, layout: str | None = None) -> tuple[Path, Layout]:
        """Find root and layout of a copy.

        Args:
            path: The folder that a person names.
            split: One of ``splits``.
            layout: Only this layout.

        Raises:
            DatasetError: The folder has none of the layouts.
            UnknownNameError: There is no such split or layout.
        """
        if split not in self.splits:
            raise UnknownNameError.of(f"split of {self.name}", split, self.splits)
        layouts = self.layouts if layout is None else (self.layout(layout),)
        layouts = tuple(f for f in layouts if f.holds(split)) or layouts
        if not path.is_dir():
            found = "a file" if path.exists() else "no folder there"
            raise folder_error(path, found, f"a folder like this:\n{self.tree}", "Check the path.")
        for candidate in layouts:
            for below in self.roots:
                if candidate.is_at(path / below, split):
                    return path / below, candidate
        lists = {f.list_path(path, split) for f in layouts} - {None}
        missing = [str(file.relative_to(path)) for file in lists if file and not file.is_file()]
        folder = layouts[0].folders.get(split, split)
        wanted = [f.labels.replace("{folder}", f.folders.get(split, split)) for f in layouts]
        fix = f"Make the tree so (folder of the split: {folder}):\n{self.tree}\nTo get it: {self.source}"
        raise folder_error(
            path,
            f"no label file of the split {split}"
            + (f" and no list {first_of(sorted(missing))}" if missing else ""),
            f"one of {', '.join(wanted)}",
            fix,
        )
