"""What a predictions store says of itself, and which stores may be gone on with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.vocabulary import Vocabulary

FORMAT = 1
MANIFEST = "manifest.json"


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
        data_fingerprint: Of pictures, label files and classes.
        stems: Its images.
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
    format: int = FORMAT

    def to_vocabulary(self) -> Vocabulary:
        """Give what predicted labels index."""
        return Vocabulary(names=self.vocabulary, synonyms=self.synonyms, background=self.background)

    def data_vocabulary(self) -> Vocabulary:
        """Give what true labels index."""
        seen = None if self.seen is None else frozenset(self.seen)
        return Vocabulary(
            names=self.classes, synonyms=self.class_synonyms, background=self.classes_background, seen=seen
        )


def read_manifest(folder: Path) -> Manifest:
    """Read what a store says of itself.

    Raises:
        DatasetError: There is no store, or it is of another format.
    """
    path = folder / MANIFEST
    doing, expected = f"reading {path}", "the manifest of a store that lexiseg predict wrote"
    fix = "Name the folder given to lexiseg predict with --out, or write it again."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("format")
        if version != FORMAT:
            raise DatasetError(doing=doing, found=f"format {version!r}", expected=f"format {FORMAT}", fix=fix)
        for name in ("synonyms", "class_synonyms"):
            content[name] = tuple(tuple(words) for words in content[name])
        for name in ("vocabulary", "class_of", "classes", "seen", "stems"):
            content[name] = None if content[name] is None else tuple(content[name])
        return Manifest(**content)
    except FileNotFoundError as error:
        raise DatasetError(doing=doing, found="no such file", expected=expected, fix=fix) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            doing=doing, found=f"a damaged file ({error})", expected=expected, fix=fix
        ) from error


def refuse_other(folder: Path, there: Manifest, wanted: Manifest) -> None:
    """Refuse to mix predictions that were made differently."""
    differing = []
    for item in fields(Manifest):
        old, new = getattr(there, item.name), getattr(wanted, item.name)
        if item.name == "settings":
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            differing += [f"{key} = {old.get(key)!r} instead of {new.get(key)!r}" for key in keys]
        elif item.name not in ("data", "opened_with") and old != new:
            differing.append(f"another {item.name.replace('_', ' ')}")
    if differing:
        raise InputError(
            doing=f"going on with the store {folder}",
            found=f"one written with {', '.join(differing[:3])}",
            expected="the same model, settings, classes and data",
            fix="Choose another folder with --out, or delete this one.",
        )
