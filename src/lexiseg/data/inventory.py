"""Inventory: what is in a folder that a person brings, whatever is complete of it and whatever is not."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.folder_layouts import has_layout
from lexiseg.data.datasets import DATASETS
from lexiseg.data.folder import FolderDataset, has_split
from lexiseg.data.folder_lists import read_vocabulary
from lexiseg.data.formats.known_formats import find_annotations
from lexiseg.data.image_files import PassedOver, list_images
from lexiseg.data.partial_labels.masked_labels import class_knowledge

#: Our own layout.
OWN = "folder"
#: Label files that are read to see which classes they show; of more, evenly spaced ones.
_MOST_READ = 400


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What a folder has.

    Attributes:
        path: The folder.
        kind: ``folder`` for our own layout, the format of annotations by another tool, the name of a published data set,
            ``captions`` for images with captions in any layout, or ``images`` for images alone.
        is_folder: Whether commands that take a data folder take it as it is.
        images: Stems of all images.
        vocabulary: Classes; None without classes.txt.
        labelled: Stems of images to learn from (of train.txt where there is one, never of val.txt) with a label file.
        num_scored: Images of val.txt with a label file.
        shown: For each class, in how many label files it was found.
        num_read: Label files that were read for that.
        refused: Images to learn from that training with masks and tags together refuses, with the reason: some that have
            neither, and some of those read whose masks and tags contradict each other.
        tagged: Stems of images to learn from with a line in tags.tsv.
        captioned: Stems of images to learn from with captions.
        splits: Names of the lists of stems, with the number of images of each.
        notes: What was not looked at.
    """

    path: Path
    kind: str
    is_folder: bool = False
    images: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
    labelled: tuple[str, ...] = ()
    num_scored: int = 0
    shown: dict[int, int] = field(default_factory=dict)
    num_read: int = 0
    refused: tuple[str, ...] = ()
    tagged: tuple[str, ...] = ()
    captioned: tuple[str, ...] = ()
    splits: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def masked_classes(self) -> frozenset[int]:
        """Classes with masks: those of seen.txt, else those that label files were found to show."""
        if self.vocabulary is not None and self.vocabulary.seen is not None and self.labelled:
            return self.vocabulary.seen
        return frozenset(self.shown)

    @property
    def unmasked_classes(self) -> frozenset[int]:
        """Classes without masks."""
        total = 0 if self.vocabulary is None else len(self.vocabulary)
        return frozenset(range(total)) - self.masked_classes


def take_inventory(path: Path) -> Inventory:
    """Look at a folder, or at a file of annotations.

    Raises:
        DatasetError: There is no folder, nothing that can be read is in it, or a part contradicts itself.
    """
    annotations = find_annotations(path)
    if annotations is not None:
        return _own_layout(path, kind=annotations.format)
    if not path.is_dir():
        raise DatasetError(
            doing=f"looking at {path}",
            found="a file" if path.exists() else "no folder there",
            expected="a folder with images or a data set, or a file of annotations",
            fix="Check the path.",
        )
    if (path / "classes.txt").is_file() and (path / "images").is_dir():
        return _own_layout(path, kind=OWN)
    published = next((name for name in DATASETS if _is_copy(name, path)), None)
    if published is not None:
        return Inventory(path=path, kind=published)
    shards = sorted(file.name for file in path.iterdir() if file.suffix in (".tar", ".parquet"))
    has_captions = (path / "captions.tsv").is_file() or (not (path / "images").is_dir() and has_layout(path))
    if shards or has_captions:
        note = f"{len(shards):,} files such as {shards[0]}" if shards else "images with captions beside them"
        return Inventory(path=path, kind="captions", notes=(note,))
    passed_over = PassedOver()
    place = path / "images" if (path / "images").is_dir() else path
    images = list_images(place, passed_over)
    if not images:
        raise DatasetError(
            doing=f"looking at {path}",
            found=f"no image in {place} ({passed_over.text() or 'empty'}) and none of the data sets that are known",
            expected="images, our own layout (classes.txt, images/, labels/), captions in tar or Parquet files, or a "
            "published data set",
            fix="lexiseg datasets lists the published ones; docs/datasets.md has our own layout.",
        )
    stems = tuple(file.relative_to(place).with_suffix("").as_posix() for file in images)
    return Inventory(
        path=path,
        kind="images",
        images=stems,
        vocabulary=read_vocabulary(path) if (path / "classes.txt").is_file() else None,
        notes=tuple(note for note in (passed_over.note(place),) if note),
    )


def _own_layout(path: Path, *, kind: str) -> Inventory:
    folder = FolderDataset(path)
    masked = FolderDataset(path, labels="only") if folder.num_unlabelled < len(folder) else None
    lists = {name: FolderDataset(path, name).stems for name in ("train", "val") if has_split(path, name)}
    scored = set(lists.get("val", ()))
    learnt = [stem for stem in lists.get("train", folder.stems) if stem not in scored]
    shown: Counter[int] = Counter()
    num_read = 0
    labelled: list[str] = []
    refused: list[str] = []
    if masked is not None:
        of_stem = {stem: index for index, stem in enumerate(masked.stems)}
        labelled = [stem for stem in learnt if stem in of_stem]
        for stem in labelled[:: max(1, -(-len(labelled) // _MOST_READ))]:
            label_map = masked.read_label_map(of_stem[stem])
            assert label_map is not None
            present = frozenset(int(label) for label in np.unique(label_map) if label != IGNORE_INDEX)
            shown.update(present)
            num_read += 1
            refused += _refusal(folder, stem, present)
    tags, captions = folder.tags, folder.captions
    for stem in set(learnt) - set(labelled) - set(tags):
        refused += _refusal(folder, stem, None)
    return Inventory(
        path=path,
        kind=kind,
        is_folder=True,
        images=tuple(folder.stems),
        vocabulary=folder.vocabulary,
        labelled=tuple(labelled),
        num_scored=0 if masked is None else len(scored.intersection(masked.stems)),
        shown=dict(sorted(shown.items())),
        num_read=num_read,
        refused=tuple(sorted(refused)),
        tagged=_in_order(learnt, tags),
        captioned=_in_order(learnt, captions),
        splits={name: len(stems) for name, stems in lists.items()},
        notes=tuple(folder.notes),
    )


def _refusal(folder: FolderDataset, stem: str, present: frozenset[int] | None) -> list[str]:
    """Say why training refuses what is known of an image; nothing where it does not, or the folder is not for it."""
    if not folder.tags or folder.vocabulary.seen is None:
        return []
    try:
        class_knowledge(present, folder.tags.get(stem), stem, folder.vocabulary, unseen_masks="refuse")
    except DatasetError as error:
        return [f"{stem}: {error.found}"]
    return []


def _in_order(stems: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    known = set(there)
    return tuple(stem for stem in stems if stem in known)


def _is_copy(name: str, path: Path) -> bool:
    facts = DATASETS[name]
    try:
        facts.find(path, facts.default_split)
    except DatasetError:
        return False
    return True
