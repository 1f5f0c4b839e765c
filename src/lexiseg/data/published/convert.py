"""Write the label maps of a published data set in another layout, or everything as a data folder.

Nothing is written into the source. Files that are there already are kept, so an interrupted conversion
goes on where it stopped; conversion.json says what made them from which files, and another conversion, or
one of another copy, is refused there.
"""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image

from lexiseg.core.atomic_write import atomic_path
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.core.folder_lock import writing_alone
from lexiseg.core.json_text import read_json_file
from lexiseg.core.mapping import Mapper
from lexiseg.core.vocabulary import as_lines
from lexiseg.data.published.label_encodings import TOP, LabelMapping, write_values
from lexiseg.data.published.layouts import Layout
from lexiseg.data.published.reader import PublishedDataset, is_turned, load_as_stored
from lexiseg.data.splits import Split, hide_classes

#: The target that is no published layout: classes.txt, images/, labels/ and a list of the split.
FOLDER_LAYOUT = "folder"

_MOST_CLASSES_IN_8_BITS = 255


def convert_dataset(
    dataset: PublishedDataset,
    out: Path,
    target: str = FOLDER_LAYOUT,
    *,
    hide: Split | None = None,
    advance: Callable[[], None] = lambda: None,
    apply: Mapper = map,
) -> int:
    """Write label maps in another layout.

    Args:
        dataset: What is read; its layout says how.
        out: The root of the new tree; never the source itself.
        target: A layout of the data set, or ``folder``.
        hide: Turn the unseen classes of this split into void, for training.
        advance: Called after every image.
        apply: Converts them, by several workers for example.

    Returns:
        The number of label files written; those that were there are not counted.

    Raises:
        InputError: The target cannot be written, is the source, holds another conversion, or another run writes it.
        DatasetError: A label file of the source is wrong.
        OutputError: A file cannot be written.
    """
    _refuse_source(dataset, out)
    if hide is not None:
        hide.apply(dataset.vocabulary)
    if target != FOLDER_LAYOUT:
        _refuse_unwritable(dataset, target)
    with writing_alone(out):
        _record(dataset, out, target, hide)
        if target == FOLDER_LAYOUT:
            _write_lists(dataset, out)
        written = 0
        for is_new in apply(partial(_convert, dataset, out, target, hide), range(len(dataset))):
            written += is_new
            advance()
        return written


def _convert(dataset: PublishedDataset, out: Path, target: str, hide: Split | None, index: int) -> bool:
    """Write what is not there of one image; return whether there was anything to write."""
    layout = None if target == FOLDER_LAYOUT else dataset.facts.layout(target)
    pair = dataset.pairs[index]
    image_path, label_path = _places(dataset, layout, out, pair.stem, pair.image)
    if label_path.is_file() and (image_path is None or image_path.is_file()):
        return False
    _write_one(dataset, index, layout, image_path, label_path, hide)
    return True


def _write_one(
    dataset: PublishedDataset,
    index: int,
    layout: Layout | None,
    image_path: Path | None,
    label_path: Path,
    hide: Split | None,
) -> None:
    pair = dataset.pairs[index]
    if dataset.layout.shrink_to is None:
        numbers = dataset.read_numbers(pair)
        labels = dataset.to_classes(numbers, pair)
        strict_void = (numbers == TOP) & (labels == IGNORE_INDEX)
    else:
        sample = dataset[index]
        assert sample.label_map is not None
        labels = sample.label_map
        strict_void = labels == IGNORE_INDEX
    if image_path is not None:
        with atomic_path(image_path) as temporary:
            if dataset.layout.shrink_to is not None:
                Image.fromarray(sample.image).save(temporary, quality=95)
            elif is_turned(pair.image):  # a folder's images are turned upright, its label files are not
                Image.fromarray(load_as_stored(pair.image)).save(temporary)
            else:
                shutil.copyfile(pair.image, temporary)
    if hide is not None:
        shown = labels
        labels = hide_classes(labels, hide.unseen)
        strict_void |= labels != shown
    values = labels if layout is None else _values_in(layout.label_mapping(dataset.root), labels, strict_void)
    top = dataset.facts.num_classes if layout is None else int(_values_of(dataset, layout).max(initial=0)) + 1
    write_values(label_path, values, 8 if top <= _MOST_CLASSES_IN_8_BITS else 16)


def _values_in(
    mapping: LabelMapping, labels: UInt16[np.ndarray, "H W"], strict_void: Bool[np.ndarray, "H W"]
) -> UInt16[np.ndarray, "H W"]:
    """Turn class indices into file values; what must stay void for everyone is 255 where the code has it.

    With 0 and 255 for void, 0 is background to those who score it, so hidden classes must not become 0.
    """
    values = mapping.from_classes(labels)
    return np.where(strict_void, np.uint16(TOP), values) if TOP in mapping.void else values


def _values_of(dataset: PublishedDataset, layout: Layout) -> np.ndarray:
    mapping = layout.label_mapping(dataset.root)
    return np.array([value for value in (*mapping.classes, *mapping.void) if value != TOP])


def _places(
    dataset: PublishedDataset, layout: Layout | None, out: Path, stem: str, image: Path
) -> tuple[Path | None, Path]:
    """Return where image (None: it stays where it is) and label file go."""
    shrunk = dataset.layout.shrink_to is not None
    if layout is None:
        flat = stem.replace("/", "--")  # the folder has one level
        suffix = ".png" if shrunk or is_turned(image) else image.suffix
        return out / "images" / f"{flat}{suffix}", out / "labels" / f"{flat}.png"
    return (
        layout.image_path(out, dataset.split, stem) if shrunk else None,
        layout.label_path(out, dataset.split, stem),
    )


def _write_lists(dataset: PublishedDataset, out: Path) -> None:
    for name, lines in (
        ("classes.txt", list(as_lines(dataset.vocabulary))),
        (f"{dataset.split}.txt", [stem.replace("/", "--") for stem in dataset.stems]),
    ):
        with atomic_path(out / name) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _record(dataset: PublishedDataset, out: Path, target: str, hide: Split | None) -> None:
    """Note what makes the files of the split, or refuse to mix them with those of another conversion."""
    path = out / "conversion.json"
    request = {
        "data set": dataset.facts.name,
        "from": dataset.layout.name,
        "to": target,
        "hidden": None if hide is None else hide.name,
        "fingerprint": dataset.fingerprint(),
    }
    done: dict[str, dict[str, str | None]] = {}
    if path.is_file():
        try:
            done = dict(read_json_file(path))
        except (ValueError, TypeError) as error:
            raise _other_conversion(out, f"a damaged {path.name} ({error})", request) from error
    before = done.setdefault(dataset.split, request)
    if not isinstance(before, dict):
        raise _other_conversion(out, f"a damaged {path.name}", request)
    if {**before, "fingerprint": request["fingerprint"]} == request != before:
        found = f"the split {dataset.split} of another copy: made from label files or images that differ"
        raise _other_conversion(out, found, request)
    if before != request:
        raise _other_conversion(out, f"label files of the split {dataset.split} made by {before}", request)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")


def _other_conversion(out: Path, found: str, request: dict[str, str | None]) -> InputError:
    return InputError(
        doing=f"converting into {out}",
        found=found,
        expected=f"an empty folder, or one made by {request}",
        fix="Choose another folder with --out, or remove this one.",
    )


def _refuse_unwritable(dataset: PublishedDataset, target: str) -> None:
    facts, layout = dataset.facts, dataset.facts.layout(target)
    fits = [other for other in facts.layouts if other.encoding == "index" and other.holds(dataset.split)]
    if layout not in fits:
        why = f"does not hold the split {dataset.split}" if layout.encoding == "index" else "is only read"
        raise InputError(
            doing=f"converting {facts.name}",
            found=f"the target {target}, which {why}",
            expected=f"one of: {', '.join([*(other.name for other in fits), FOLDER_LAYOUT])}",
            fix="Choose one with --to.",
        )


def _refuse_source(dataset: PublishedDataset, out: Path) -> None:
    if out.resolve() == dataset.root.resolve():
        raise InputError(
            doing=f"converting {dataset.facts.name}",
            found="the source itself as the place for the result",
            expected="another folder: labels of two layouts in one tree are mistaken for each other",
            fix="Choose another folder with --out, and link the images there.",
        )
