"""DatasetFacts: what is known of a published benchmark before any copy of it is seen.

The families (voc.py, context.py, …) only declare facts and forms; one reader, one check and one
converter serve all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lexiseg.core.errors import UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.folder_lists import first_of, folder_error
from lexiseg.data.published.forms import Form


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
        licence: Of pictures and labels.
        source: Where to get it.
        forms: In the order in which they are looked for.
        read_vocabulary: Gives the classes, from this package or from the copy at a root.
        roots: Subfolders in which the tree may begin.
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
    forms: tuple[Form, ...]
    read_vocabulary: Callable[[Path], Vocabulary]
    roots: tuple[str, ...] = ("",)

    def form(self, name: str) -> Form:
        """Look up a form by name.

        Raises:
            UnknownNameError: There is none of that name.
        """
        by_name = {form.name: form for form in self.forms}
        if name not in by_name:
            raise UnknownNameError.of(f"form of {self.name}", name, by_name)
        return by_name[name]

    def find(self, path: Path, split: str, form: str | None = None) -> tuple[Path, Form]:
        """Find root and form of a copy.

        Args:
            path: The folder that a person names.
            split: One of ``splits``.
            form: Only this form.

        Raises:
            DatasetError: The folder has none of the forms.
            UnknownNameError: There is no such split or form.
        """
        if split not in self.splits:
            raise UnknownNameError.of(f"split of {self.name}", split, self.splits)
        forms = self.forms if form is None else (self.form(form),)
        forms = tuple(f for f in forms if f.holds(split)) or forms
        if not path.is_dir():
            found = "a file" if path.exists() else "no folder there"
            raise folder_error(path, found, f"a folder like this:\n{self.tree}", "Check the path.")
        for candidate in forms:
            for below in self.roots:
                if candidate.is_at(path / below, split):
                    return path / below, candidate
        lists = {f.list_path(path, split) for f in forms} - {None}
        missing = [str(file.relative_to(path)) for file in lists if file and not file.is_file()]
        folder = forms[0].folders.get(split, split)
        wanted = [f.labels.replace("{folder}", f.folders.get(split, split)) for f in forms]
        fix = f"Make the tree so (folder of the split: {folder}):\n{self.tree}\nTo get it: {self.source}"
        raise folder_error(
            path,
            f"no label file of the split {split}"
            + (f" and no list {first_of(sorted(missing))}" if missing else ""),
            f"one of {', '.join(wanted)}",
            fix,
        )
