"""Inventory: what is in a folder that a person brings, whatever is complete of it and whatever is not."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.datasets import DATASETS
from lexiseg.data.folder import FolderDataset
from lexiseg.data.folder_lists import read_captions, read_vocabulary
from lexiseg.data.formats.known_formats import find_annotations
from lexiseg.data.image_files import PassedOver, list_images

#: Label files that are read to see which classes they show; of more, evenly spaced ones.
_MOST_READ = 400


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What a folder has.

    Attributes:
        path: The folder.
        kind: ``folder`` for our own layout, the name of a published data set, ``shards`` for captions in tar or Parquet
            files, or ``images`` for images alone.
        images: Stems of all images.
        vocabulary: Classes; None without classes.txt.
        labelled: Stems of images with a label file.
        shown: For each class, in how many label files it was found.
        num_read: Label files that were read for that.
        tagged: Stems of images with a line in tags.tsv.
        captioned: Stems of images with captions.
        splits: Names of the lists of stems, with the number of images of each.
        notes: What was not looked at.
    """

    path: Path
    kind: str
    images: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
    labelled: tuple[str, ...] = ()
    shown: dict[int, int] = field(default_factory=dict)
    num_read: int = 0
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
    """Look at a folder.

    Raises:
        DatasetError: There is no folder, nothing that can be read is in it, or a part contradicts itself.
    """
    if not path.is_dir():
        raise DatasetError(
            doing=f"looking at {path}",
            found="a file" if path.exists() else "no folder there",
            expected="a folder with images, or with a data set",
            fix="Check the path.",
        )
    is_own = (path / "classes.txt").is_file() and (path / "images").is_dir()
    if is_own or find_annotations(path) is not None:
        return _own_layout(path)
    published = next((name for name in DATASETS if _is_copy(name, path)), None)
    if published is not None:
        return Inventory(path=path, kind=published)
    shards = sorted(file.name for file in path.iterdir() if file.suffix in (".tar", ".parquet"))
    if shards:
        return Inventory(path=path, kind="shards", notes=(f"{len(shards):,} files such as {shards[0]}",))
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
    captions = read_captions(path)
    return Inventory(
        path=path,
        kind="images",
        images=stems,
        vocabulary=read_vocabulary(path) if (path / "classes.txt").is_file() else None,
        captioned=tuple(stem for stem in stems if stem in captions),
        notes=tuple(note for note in (passed_over.note(place),) if note),
    )


def _own_layout(path: Path) -> Inventory:
    folder = FolderDataset(path)
    masked = _labelled(path) if folder.num_unlabelled < len(folder) else None
    shown: Counter[int] = Counter()
    num_read = 0
    if masked is not None:
        step = max(1, -(-len(masked) // _MOST_READ))
        for index in range(0, len(masked), step):
            label_map = masked.read_label_map(index)
            assert label_map is not None
            shown.update(int(label) for label in np.unique(label_map) if label != IGNORE_INDEX)
            num_read += 1
    tags, captions = folder.tags, folder.captions
    return Inventory(
        path=path,
        kind="folder",
        images=tuple(folder.stems),
        vocabulary=folder.vocabulary,
        labelled=() if masked is None else tuple(masked.stems),
        shown=dict(sorted(shown.items())),
        num_read=num_read,
        tagged=_in_order(folder.stems, tags),
        captioned=_in_order(folder.stems, captions),
        splits={
            name: len(FolderDataset(path, name))
            for name in ("train", "val")
            if (path / f"{name}.txt").is_file()
        },
        notes=tuple(folder.notes),
    )


def _labelled(path: Path) -> FolderDataset:
    return FolderDataset(path, labels="only")


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
