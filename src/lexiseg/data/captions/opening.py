"""Open images with captions, whatever they lie in."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.batch import Sample
from lexiseg.core.cache_folder import default_cache, make_private
from lexiseg.core.errors import DatasetError, InputError, OutputError
from lexiseg.core.folder_lock import in_turn
from lexiseg.core.json_text import read_json_file
from lexiseg.data.augmentation.rand_augment import RandAugment
from lexiseg.data.augmentation.random_crop import RandomCropSettings
from lexiseg.data.augmentation.random_erasing import RandomErasing
from lexiseg.data.augmentation.word_corruption import WordCorruption
from lexiseg.data.captions.caption_data import CaptionBatchSettings, CaptionData, TryText
from lexiseg.data.captions.decoding import UnreadableImageError, decode_image, refuse_empty
from lexiseg.data.captions.folder_layouts import has_layout
from lexiseg.data.captions.folder_source import FolderSource
from lexiseg.data.captions.img2dataset import download_notes, metadata_tables, tables_of_loose_files
from lexiseg.data.captions.invalid_records import InvalidRecordLog, default_log, warn_of
from lexiseg.data.captions.parquet_source import ParquetSource
from lexiseg.data.captions.records import CaptionColumns, CaptionSource, InvalidRecord, RawRecord
from lexiseg.data.captions.tar_source import TarSource
from lexiseg.data.captions.word_prompts import MakeTexts
from lexiseg.data.image_files import PassedOver, walk_files
from lexiseg.data.image_shards import COMPRESSED_TARS, expand_braces

_EXPECTED = (
    "tar shards (a file, a folder of them, or a pattern such as train-{0000..0099}.tar), "
    "Parquet files, or a folder of images with captions.tsv, metadata.csv, COCO's captions or a .txt beside each"
)
#: Captions whose words are gathered where no words to replace by are given.
_CAPTIONS_FOR_WORDS = 10_000

Paths = str | Path | Sequence[str | Path]


def open_captions(
    path: Paths,
    *,
    batch_size: int,
    size: int = 224,
    seed: int = 0,
    crop: RandomCropSettings | None = RandomCropSettings(),  # noqa: B008
    auto_augment: bool = True,
    corruption: WordCorruption | None = None,
    replacements: Sequence[str] | None = None,
    invalid_log: Path | None = None,
    max_invalid: float = 0.2,
    columns: CaptionColumns = CaptionColumns(),  # noqa: B008
    split: str | None = None,
    window: int | None = None,
    cache: Path | Literal["default"] | None = "default",
    flip: bool = False,
    rand_augment: RandAugment | None = None,
    erasing: RandomErasing | None = None,
    word_prompts: MakeTexts | None = None,
    try_text: TryText | None = None,
) -> CaptionData:
    """Open images with captions for training.

    Args:
        path: Tar shards, Parquet or a folder; see ``open_caption_source``.
        batch_size: Samples a step over all devices.
        size: Side of the square images.
        seed: Seed of order, augmentation and words.
        crop: Which part of an image is taken; None takes the whole image, squeezed.
        auto_augment: Apply the ImageNet policy of AutoAugment.
        corruption: Corruption of caption words; None leaves them.
        replacements: Words for the corruption; None takes the words of the first 10,000 captions.
        invalid_log: Folder for the list of broken records, such as one in the run's folder; None takes one in the
            cache, named after the data.
        max_invalid: Share of broken records at which to stop, of all on opening, later of those met.
        columns: Names of parts, where they are not usual ones.
        split: For a folder of images: name of a list of stems or of a subfolder.
        window: Records shuffled at once; None is the source's own choice (20,000 for tar files).
        cache: Folder of indices of shards.
        flip: Mirror half of the images.
        rand_augment: Change images by RandAugment; None does not.
        erasing: Fill rectangles with noise; None does not.
        word_prompts: Makes the further sentences of an image; None makes none.
        try_text: Called with every sentence; a caption on which it raises is an invalid record.

    Raises:
        InputError: There is nothing to train with, or a setting is wrong.
        DatasetError: Too much is broken.
        MissingPackageError: Parquet without pyarrow, a pattern with braces without webdataset.
    """
    _check(batch_size=batch_size, size=size, seed=seed, max_invalid=max_invalid, window=window)
    source = open_caption_source(path, columns=columns, split=split, cache=cache)
    for note in source.notes:
        warnings.warn(note, stacklevel=2)
    refuse_empty(len(source), len(source.invalid), source.path)
    settings = CaptionBatchSettings(
        batch_size=batch_size,
        size=size,
        seed=seed,
        crop=crop,
        auto_augment=auto_augment,
        corruption=corruption,
        max_invalid=max_invalid,
        window=window or source.window,
        flip=flip,
        rand_augment=rand_augment,
        erasing=erasing,
        word_prompts=word_prompts,
    )
    if replacements is None:
        folder = default_cache() if cache == "default" else cache
        replacements = _words_once(source, folder) if corruption is not None else ()
    return CaptionData(
        source, settings, replacements=replacements, invalid_log=invalid_log, try_text=try_text
    )


def open_caption_source(
    path: Paths,
    *,
    columns: CaptionColumns = CaptionColumns(),  # noqa: B008
    split: str | None = None,
    cache: Path | Literal["default"] | None = "default",
) -> CaptionSource:
    """Open images with captions as records in a fixed order.

    Args:
        path: A .tar or .parquet file, a pattern with braces, several of these, a folder of them (also in its
            subfolders), a folder of images with captions in one of the layouts of ``folder_layouts``, or COCO's file.
        columns: Names of parts, where they are not usual ones.
        split: For a folder of images: name of a list of stems or of a subfolder.
        cache: Folder of indices of tar files; None reads their headers anew.

    Raises:
        InputError: There is nothing of that kind.
        MissingPackageError: Parquet without pyarrow, a pattern with braces without webdataset.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    name = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
    if len(paths) == 1 and _is_plain(Path(paths[0])):
        return FolderSource(Path(paths[0]), split, columns)
    files = [file for one in paths for file in _find_files(str(one))]
    notes: list[str] = []
    if tables := metadata_tables(files):
        files = [file for file in files if file not in tables]
        notes = download_notes(tables)
    elif len(paths) == 1 and columns.image is None and (described := tables_of_loose_files(files)):
        loose = FolderSource(Path(paths[0]), split, columns)
        loose.notes = download_notes(described, beside="folders") + [
            note for note in loose.notes if ".parquet" not in note
        ]
        return loose
    if split is not None:
        found = f"the split {split!r} for files"
        raise _error(name, found, "a split only for a folder of images", "Leave it out.")
    suffixes = {file.suffix.lower() for file in files}
    if len(suffixes) > 1:
        found = f"files of two kinds: {', '.join(sorted(suffixes))}"
        raise _error(name, found, "tar files or Parquet files", "Open them one by one.")
    if suffixes == {".parquet"}:
        return ParquetSource(name, files, columns)
    source = TarSource(name, files, columns, default_cache() if cache == "default" else cache)
    source.notes = notes + source.notes
    return source


def read_samples(source: CaptionSource, invalid_log: Path | None = None) -> Iterator[Sample]:
    """Read all records in order, images whole and upright, all captions, nothing changed.

    For evaluation. Broken records are left out and written down.

    Args:
        source: The records.
        invalid_log: As for ``open_captions``.
    """
    written = InvalidRecordLog(invalid_log or default_log(source))
    _add(written, source.invalid)
    for index in range(len(source)):
        record = source.read(index)
        if isinstance(record, RawRecord):
            try:
                image = decode_image(record.image)
            except UnreadableImageError as error:
                record = InvalidRecord(record.shard, record.key, error.reason, error.detail)
            else:
                yield Sample(image=image, source=Path(record.source), captions=record.captions)
                continue
        _add(written, [record])


def _add(written: InvalidRecordLog, records: Sequence[InvalidRecord]) -> None:
    is_first = not written.has_any
    if written.add(records) and is_first:
        warn_of(records[0], written.folder)


def gather_words(source: CaptionSource, limit: int = _CAPTIONS_FOR_WORDS) -> tuple[str, ...]:
    """Gather the words of the captions of the first records, sorted, each once."""
    words: set[str] = set()
    for index in range(min(limit, len(source))):
        record = source.read(index)
        if isinstance(record, RawRecord):
            words.update(word for caption in record.captions for word in caption.split())
    return tuple(sorted(words))


def _words_once(source: CaptionSource, cache: Path | None) -> tuple[str, ...]:
    """Gather the words once a machine: reading 10,000 records means reading their images."""
    if cache is None:
        return gather_words(source)
    file = cache / "captions" / f"words-{source.fingerprint()[:32]}.json"
    try:
        make_private(file.parent)
        with in_turn(file.parent):
            if (known := _known_words(file)) is not None:
                return known
            words = gather_words(source)
            with atomic_path(file, durable=False) as temporary:
                temporary.write_text(
                    json.dumps({"words": words, "sha256": _hash_of(words)}), encoding="utf-8"
                )
            return words
    except OutputError:  # nothing can be remembered there
        return gather_words(source)


def _known_words(file: Path) -> tuple[str, ...] | None:
    """Read remembered words; None where there are none or they are damaged."""
    try:
        content = read_json_file(file)
        words = tuple(content["words"])
        return words if content["sha256"] == _hash_of(words) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _hash_of(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def _find_files(pattern: str) -> list[Path]:
    """List the files that a path, a folder or a pattern with braces means."""
    if re.match(r"[a-z0-9]+://|pipe:", pattern):
        fix = "Download the files first; training reads them in an order of its own, again in every epoch."
        raise _error(pattern, "an address or a command", "files on this machine", fix)
    if pattern.lower().endswith(COMPRESSED_TARS):
        fix = "Unpack it (gunzip, unzstd, …): images are compressed already, and shards are read from the middle."
        raise _error(pattern, "a compressed tar file", "tar files without compression", fix)
    path = Path(pattern)
    if path.is_dir():
        files = _shards_below(path)
        if not files:
            raise _error(pattern, "a folder without any of them", _EXPECTED, "Check the path.")
        return files
    files = [Path(name) for name in expand_braces(pattern, f"expanding {pattern}")]
    missing = [file for file in files if not file.is_file()]
    if missing:
        count = f"{len(missing):,} of {len(files):,} files missing: " if len(files) > 1 else "no file "
        raise _error(pattern, f"{count}{missing[0]}", _EXPECTED, "Check the path.")
    strange = [file for file in files if file.suffix.lower() not in (".tar", ".parquet")]
    if strange:
        raise _error(pattern, f"the file {strange[0].name}", _EXPECTED, "Check the path.")
    return files


def _is_plain(path: Path) -> bool:
    """Return whether a path is COCO's file, or a folder of plain files: shards in it go before everything but captions.tsv."""
    if path.is_file():
        return path.suffix.lower() == ".json"
    if not path.is_dir():
        return False
    if (path / "captions.tsv").is_file():
        return True
    return not _shards_below(path) and has_layout(path)


def _shards_below(path: Path) -> list[Path]:
    """List tar and Parquet files of a folder and its subfolders, sorted."""
    names = walk_files(path, PassedOver())
    return sorted(path / name for name in names if name.lower().endswith((".tar", ".parquet")))


def _check(*, batch_size: int, size: int, seed: int, max_invalid: float, window: int | None) -> None:
    given = f"batch_size={batch_size}, size={size}, seed={seed}, max_invalid={max_invalid:g}, window={window}"
    if (
        batch_size < 1
        or size < 1
        or seed < 0
        or not 0 <= max_invalid <= 1
        or (window is not None and window < 1)
    ):
        raise InputError(
            doing="opening captions",
            found=given,
            expected="positive numbers, a seed of 0 or more, a share of 0 to 1",
            fix="Change the one that is not.",
        )


def _error(path: str, found: str, expected: str, fix: str) -> DatasetError:
    return DatasetError(doing=f"opening the captions in {path}", found=found, expected=expected, fix=fix)
