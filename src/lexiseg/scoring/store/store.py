"""The predictions store: a folder that holds what a model said about a data set, to be counted many ways.

::

    store/
      manifest.json       vocabulary, classes and stems of the data set, settings, fingerprint of the data
      shard-000.failed    why images have no block, as JSON
      shard-000.runs      one block an image (``store_blocks``): label maps as runs, best scores on the grid

Shards are only ever appended to, a block at a time, so that a run may be killed at any moment and
the same command goes on. Several processes write shards of their own.
"""

import json
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, fields
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from lexiseg.core.atomic_write import atomic_path, output_error
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, InputError, OutputError, as_found
from lexiseg.core.folder_lock import try_lock, writing_alike
from lexiseg.core.json_text import read_json_file
from lexiseg.scoring.store.blocks import (
    BlockPlace,
    Shard,
    ShardDamage,
    StoredImage,
    damaged_block,
    pack_block,
)
from lexiseg.scoring.store.predictions import FORMAT, Manifest, Predictions, problem_of_manifest

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> Manifest:
    """Read what a store says of itself.

    Raises:
        DatasetError: There is no store, or it is of another format.
    """
    path = folder / MANIFEST
    doing, expected = f"reading {path}", "the manifest of a store that lexiseg predict wrote"
    fix = "Name the folder given to lexiseg predict with --out, or write it again."
    try:
        content = read_json_file(path)
        version = content.get("format")
        if version != FORMAT:
            raise DatasetError(
                doing=doing, found=f"format {as_found(version)}", expected=f"format {FORMAT}", fix=fix
            )
        manifest = Manifest(**{name: _as_tuples(value) for name, value in content.items()})
        problem = problem_of_manifest(manifest)
    except FileNotFoundError as error:
        if any(folder.glob("shard-*.runs")):
            raise DatasetError(
                doing=doing,
                found=f"no {MANIFEST} beside predictions, which nobody can read without it",
                expected=expected,
                fix=f"Bring {MANIFEST} back, or run the same lexiseg predict command with another --out.",
            ) from error
        raise DatasetError(doing=doing, found="no such file", expected=expected, fix=fix) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, DatasetError):
            raise
        problem = str(error) or type(error).__name__
    if problem is not None:
        found = f"a damaged file ({problem[:500]})"
        raise DatasetError(doing=doing, found=found, expected=expected, fix=fix)
    return manifest


def _as_tuples(value: Any) -> Any:
    """Turn lists, and lists in lists, into tuples; leave mappings such as settings as they are."""
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


def refuse_other(folder: Path, there: Manifest, wanted: Manifest) -> None:
    """Refuse to mix predictions that were made differently."""
    differing = []
    for item in fields(Manifest):
        old, new = getattr(there, item.name), getattr(wanted, item.name)
        if item.name == "settings":
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            differing += [f"{key} = {old.get(key)!r} instead of {new.get(key)!r}" for key in keys]
        elif item.name not in ("data", "opened_with", "file_names", "trained_on") and old != new:
            differing.append(f"another {item.name.replace('_', ' ')}")
    if differing:
        raise InputError(
            doing=f"going on with the store {folder}",
            found=f"one written with {', '.join(differing[:3])}",
            expected="the same model, settings, classes and data",
            fix="Choose another folder with --out, or delete this one.",
        )


def _claim(folder: Path, manifest: Manifest, alone: bool) -> None:
    """Write the manifest, or see that the one that is there is the same."""
    if (folder / MANIFEST).exists():
        refuse_other(folder, read_manifest(folder), manifest)
    elif alone:
        if orphans := sorted(folder.glob("shard-*.runs")):
            raise DatasetError(
                doing=f"writing predictions to {folder}",
                found=f"{len(orphans)} shards of predictions without the {MANIFEST} that explains them",
                expected="a new or empty folder, or a whole store to go on with",
                fix=f"Bring {MANIFEST} back to go on with them, or choose another folder with --out.",
            )
        with atomic_path(folder / MANIFEST) as temporary:
            text = json.dumps(asdict(manifest), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def _open_shard(path: Path) -> FileIO:
    """Open a shard for appending, locked: two processes must not append to one.

    Raises:
        InputError: Another run writes it.
        OutputError: It cannot be opened.
    """
    try:
        file = FileIO(path, "ab")
    except OSError as error:
        raise output_error(path, error) from error
    if not try_lock(file.fileno(), path):
        file.close()
        raise InputError(
            doing=f"starting to write {path}",
            found="another run that writes this shard now",
            expected="one run a shard at a time",
            fix="Wait until it has ended, or give each of N runs its own --shard I/N.",
        )
    return file


def _failed_path(shard: Path) -> Path:
    return shard.with_suffix(".failed")


def _read_failed(path: Path) -> dict[str, str]:
    """Read why images have no block; a damaged file says nothing, and the images are missing all the same."""
    try:
        found = read_json_file(path)
    except (OSError, ValueError):
        return {}
    return {str(stem): str(reason) for stem, reason in found.items()} if isinstance(found, dict) else {}


class StoreWriter:
    """Append predictions to a shard of a store; begins one or goes on with it.

    A half block at the shard's end and blocks with damaged bytes are dropped or written again.

    Args:
        folder: The store.
        manifest: What will be written; must equal the manifest that is there.
        shard: Number of this process's shard.

    Attributes:
        done: Stems that are in the store, in any shard, intact.
        failed: Why images of this shard could not be predicted by this run, by stem.

    Raises:
        InputError: The store was written with other settings, or another run writes this shard.
        OutputError: The folder cannot be written.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, shard: int = 0) -> None:
        self.folder = folder
        self.path = folder / f"shard-{shard:03d}.runs"
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        with ExitStack() as stack:
            stack.enter_context(writing_alike(folder, partial(_claim, folder, manifest)))
            self._file = stack.enter_context(_open_shard(self.path))
            self._find_done()
            self._write_failed()  # what failed before is tried again
            self._opened = stack.pop_all()

    def _find_done(self) -> None:
        """Note what is there, and drop half a block at the end of this shard."""
        for path in sorted(self.folder.glob("shard-*.runs")):
            found = Shard(path)
            self.done |= {place.stem for place in found.places if found.is_intact(place)}
            if path == self.path and found.damage is not None:
                self._file.truncate(found.end)

    def append(self, image: StoredImage) -> None:
        """Write one image.

        Raises:
            OutputError: The disk is full or not writable; what was written before stays.
        """
        block = memoryview(pack_block(image))
        try:
            while block:
                block = block[self._file.write(block) :]
        except OSError as error:
            raise OutputError(
                doing=f"writing the prediction of {image.stem!r} to {self.path}",
                found=error.strerror or str(error),
                expected="room for the block",
                fix="Free some space and run the same command again: it goes on from there.",
            ) from error
        self.done.add(image.stem)

    def fail(self, stem: str, reason: str) -> None:
        """Note why an image has no block; a later run of the same shard tries it again.

        Raises:
            OutputError: The folder cannot be written.
        """
        self.failed[stem] = reason
        self._write_failed()

    def _write_failed(self) -> None:
        path = _failed_path(self.path)
        if self.failed or path.exists():
            with atomic_path(path) as temporary:
                text = json.dumps(self.failed, indent=1, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    def close(self) -> None:
        """Close the shard."""
        self._opened.close()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _problem_of_labels(image: StoredImage, manifest: Manifest) -> str | None:
    """Return which labels of a block index nothing; None for none."""
    parts = [("predicted", image.predicted.labels, len(manifest.vocabulary))]
    if image.true is not None:
        parts.append(("true", image.true.labels, len(manifest.classes)))
    if image.top is not None:
        parts.append(("kept", image.top.labels, len(manifest.vocabulary)))
    for name, labels, count in parts:
        if int(labels.max(initial=0, where=labels != IGNORE_INDEX)) >= count:
            return f"{name} labels beyond its {count} classes"
    return None


class PredictionStore(Predictions):
    """Read a store; blocks are read when asked for and not kept.

    Args:
        folder: The store.

    Attributes:
        manifest: What the predictions mean.
        duplicates: Stems that are there more than once, with the same bytes each time; they count once.
        failed: Why each image that could not be predicted is missing, by stem.
        damage: Shards that end in half a block, and blocks whose damaged bytes name no image.

    Raises:
        DatasetError: There is no manifest, an image is there twice with different predictions, or an
            image is no image of the data set.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._shards = {path: Shard(path) for path in sorted(self.folder.glob("shard-*.runs"))}
        self.damage: list[ShardDamage] = [s.damage for s in self._shards.values() if s.damage is not None]
        by_stem: dict[str, list[BlockPlace]] = defaultdict(list)
        for shard in self._shards.values():
            for place in shard.places:
                by_stem[place.stem].append(place)
        known = set(self.manifest.stems)
        for stem in [stem for stem in by_stem if stem not in known]:
            self._refuse_stranger(by_stem.pop(stem))
        self.duplicates: list[str] = []
        self._places = {stem: self._one_of(places) for stem, places in by_stem.items()}
        self.failed: dict[str, str] = {}
        for path in sorted(self.folder.glob("shard-*.failed")):
            found = _read_failed(path)
            self.failed |= {stem: why for stem, why in found.items() if stem in known and stem not in self}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)  # opened again in other processes

    @property
    def title(self) -> str:
        """Return the folder."""
        return str(self.folder)

    def __contains__(self, stem: object) -> bool:
        return stem in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, stem: str) -> StoredImage:
        """Read the prediction of one image.

        Raises:
            DatasetError: Its bytes are damaged.
        """
        place = self._places[stem]
        image = self._shards[place.shard].read(place)
        if problem := _problem_of_labels(image, self.manifest):
            raise damaged_block(place, problem)
        return image

    def where(self, stem: str) -> Path:
        """Return the shard an image is in."""
        return self._places[stem].shard

    def _refuse_stranger(self, places: list[BlockPlace]) -> None:
        """Drop blocks whose name is that of no image because of damage, and refuse intact ones."""
        for place in places:
            if self._shards[place.shard].is_intact(place):
                raise DatasetError(
                    doing=f"reading {place.shard}",
                    found=f"a prediction of {place.stem!r}, which is no image of the data set",
                    expected=f"the {len(self.manifest.stems):,} images of {self.folder / MANIFEST}",
                    fix="The shard belongs to another store: move it away and run lexiseg predict again.",
                )
            found = f"a damaged block at offset {place.offset:,}"
            self.damage.append(ShardDamage(place.shard, place.offset, found))

    def _one_of(self, places: list[BlockPlace]) -> BlockPlace:
        if len(places) == 1:
            return places[0]
        intact = [place for place in places if self._shards[place.shard].is_intact(place)]
        if len({place.crc for place in intact}) <= 1:
            if len(intact) > 1:
                self.duplicates.append(places[0].stem)
            return (intact or places)[0]
        shards = ", ".join(sorted({str(place.shard) for place in places}))
        raise DatasetError(
            doing=f"reading the store {self.folder}",
            found=f"{len(places)} different predictions of {places[0].stem!r} in {shards}",
            expected="one prediction an image (equal ones, as distributed runs make by padding, count once)",
            fix="Delete the shard that does not belong there, or the store, and run lexiseg predict again.",
        )
