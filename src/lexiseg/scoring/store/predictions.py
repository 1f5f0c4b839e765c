"""Predictions: what scoring reads of a model's label maps, on disk or in memory, and the manifest that explains them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.scoring.store.blocks import ShardDamage, StoredImage

#: Version of the store's format.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the predictions of a store mean.

    Attributes:
        vocabulary: Names, in label order, that the model was asked for; they may be renamed classes and
            may have a background at the end that the data set lacks.
        synonyms: Further names of each of them.
        background: Label of the background in ``vocabulary``, or None.
        class_of: For each name of ``vocabulary``, the label of the data set's class it stands for; 65535 for
            none, as of a background that the data set lacks.
        classes: The data set's own class names in label order: what true labels index.
        class_synonyms: Further names of each of them.
        classes_background: The background among ``classes``, or None.
        seen: Labels of the seen classes, or None where the data set has no split.
        protocol: Name of the protocol asked for at prediction time, or None.
        settings: Model and every inference setting.
        data: Path of the data set, as given.
        opened_with: Its name and the rules its label files were read by (``LabelledDataset.opened_with``); empty
            for a data set that cannot be opened by name.
        split: Its split, or None for all images.
        data_fingerprint: Of images, label files and classes.
        stems: Its images.
        file_names: File of each image below the data set's path; empty where it is not known.
        redecisions: What may be decided again from the kept scores (``Segmenter.redecisions``); nothing in
            stores that do not say.
        trained_on: Stems of the images that the model was trained on.
        format: Version of the store's format.
    """

    vocabulary: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    background: int | None
    class_of: tuple[int, ...]
    classes: tuple[str, ...]
    class_synonyms: tuple[tuple[str, ...], ...]
    classes_background: int | None
    seen: tuple[int, ...] | None
    protocol: str | None
    settings: Mapping[str, Any]
    data: str
    split: str | None
    data_fingerprint: str
    stems: tuple[str, ...] = field(repr=False)
    opened_with: Mapping[str, Any] = field(default_factory=dict)
    file_names: tuple[str, ...] = field(default=(), repr=False)
    redecisions: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = field(default=(), repr=False)
    format: int = FORMAT

    def to_vocabulary(self) -> Vocabulary:
        """Return what predicted labels index."""
        return Vocabulary(names=self.vocabulary, synonyms=self.synonyms, background=self.background)

    def data_vocabulary(self) -> Vocabulary:
        """Return what true labels index."""
        seen = None if self.seen is None else frozenset(self.seen)
        return Vocabulary(
            names=self.classes, synonyms=self.class_synonyms, background=self.classes_background, seen=seen
        )


def problem_of_manifest(manifest: Manifest) -> str | None:
    """Return what contradicts itself in a manifest that came out of a file; None for nothing.

    Raises:
        VocabularyError: Its names cannot be used.
    """
    content: dict[str, Any] = {each.name: getattr(manifest, each.name) for each in fields(manifest)}
    texts = {
        "vocabulary": manifest.vocabulary,
        "classes": manifest.classes,
        "stems": manifest.stems,
        "file_names": manifest.file_names,
        "redecisions": manifest.redecisions,
    }
    for name, values in texts.items():
        if not (isinstance(values, tuple) and all(isinstance(each, str) for each in values)):
            return f"{name} that are no list of texts"
    for name in ("data", "data_fingerprint", "protocol", "split"):
        value = content[name]
        if not (isinstance(value, str) or (value is None and name in ("protocol", "split"))):
            return f"{name} that is no text"
    for name in ("settings", "opened_with"):
        if not isinstance(content[name], dict):
            return f"{name} that are no object"
    labels = {
        "background": () if manifest.background is None else (manifest.background,),
        "classes_background": () if manifest.classes_background is None else (manifest.classes_background,),
        "seen": () if manifest.seen is None else manifest.seen,
        "class_of": manifest.class_of,
    }
    for name, numbers in labels.items():
        if not (isinstance(numbers, tuple) and all(type(each) is int for each in numbers)):
            return f"{name} that is no label"
    if len(manifest.class_of) != len(manifest.vocabulary):
        return f"{len(manifest.class_of)} classes for {len(manifest.vocabulary)} names"
    if not all(0 <= each < len(manifest.classes) or each == IGNORE_INDEX for each in manifest.class_of):
        return "a name of a class that is not there"
    if len(set(manifest.stems)) != len(manifest.stems):
        return "an image twice"
    if manifest.file_names and len(manifest.file_names) != len(manifest.stems):
        return f"{len(manifest.file_names)} files of {len(manifest.stems)} images"
    manifest.to_vocabulary()  # checks names and synonyms
    manifest.data_vocabulary()
    return None


class Predictions(ABC):
    """Predictions of a data set as scoring reads them, wherever they are kept.

    Attributes:
        manifest: What the predictions mean.
        duplicates: Stems that are there more than once, with the same bytes each time; they count once.
        damage: What cannot be read.
        failed: Why each image that could not be predicted is missing, by stem.
    """

    manifest: Manifest
    duplicates: list[str]
    damage: list[ShardDamage]
    failed: Mapping[str, str]

    @property
    @abstractmethod
    def title(self) -> str:
        """Where they are, for people."""

    @abstractmethod
    def __contains__(self, stem: object) -> bool:
        """Return whether an image has a prediction."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the images that have one."""

    @abstractmethod
    def __getitem__(self, stem: str) -> StoredImage:
        """Return the prediction of one image."""

    @abstractmethod
    def where(self, stem: str) -> Path | str:
        """Say where an image's prediction is, for messages."""

    @property
    def stems(self) -> list[str]:
        """Return the stems that are there, in the data set's order."""
        return [stem for stem in self.manifest.stems if stem in self]

    @property
    def missing(self) -> list[str]:
        """Return the stems of the data set that are not there, in order."""
        return [stem for stem in self.manifest.stems if stem not in self]

    def __iter__(self) -> Iterator[StoredImage]:
        return (self[stem] for stem in self.stems)

    def refuse_missing(self, doing: str, *, partial: bool) -> None:
        """Refuse a store that lacks images.

        Args:
            doing: What was asked for, for the message.
            partial: Take a store that has at least one.

        Raises:
            DatasetError: Images are missing.
        """
        missing = self.missing
        if not missing or (partial and len(self)):
            return
        why = "".join(f"; {self.failed[stem]}" for stem in missing[:3] if stem in self.failed)
        damage = "".join(f"; {place.shard} has {place.found}" for place in self.damage)
        raise DatasetError(
            doing=f"{doing} the store {self.title}",
            found=f"{len(missing):,} of {len(self.manifest.stems):,} images missing "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}){why}{damage}",
            expected="a prediction of every image of the data set",
            fix=("Mend or remove the files that cannot be read, then run" if why else "Run")
            + " the same lexiseg predict command again: it does only these."
            + (" --partial takes what is there." if len(self) else ""),
        )


class MemoryStore(Predictions):
    """Predictions kept in memory, as runs of labels: what ``evaluate`` counts.

    Args:
        manifest: What the predictions mean.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.duplicates: list[str] = []
        self.damage: list[ShardDamage] = []
        self.failed: dict[str, str] = {}
        self._images: dict[str, StoredImage] = {}

    @property
    def title(self) -> str:
        """Return the data set's path."""
        return self.manifest.data

    @property
    def done(self) -> Set[str]:
        """Return the stems that are there."""
        return self._images.keys()

    def __contains__(self, stem: object) -> bool:
        return stem in self._images

    def __len__(self) -> int:
        return len(self._images)

    def append(self, image: StoredImage) -> None:
        """Keep one image."""
        self._images[image.stem] = image

    def fail(self, stem: str, reason: str) -> None:
        """Note why an image has no prediction."""
        self.failed[stem] = reason

    def __getitem__(self, stem: str) -> StoredImage:
        """Return the prediction of one image."""
        return self._images[stem]

    def where(self, stem: str) -> str:
        """Say that it is in memory."""
        return "memory"

    def __enter__(self) -> "MemoryStore":
        return self

    def __exit__(self, *_: object) -> None:
        """Keep everything."""
