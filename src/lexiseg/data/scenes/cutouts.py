"""Cut-out images (RGBA) with names, read once at the size they are pasted at."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from lexiseg.core.errors import DatasetError
from lexiseg.core.file_names import class_key, is_clutter
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.vocabulary import without_names_of_others
from lexiseg.data.folder_lists import read_lines
from lexiseg.data.image_files import is_image_name, list_images
from lexiseg.data.scenes.settings import PasteSettings

_TABLE = "names.tsv"
_EXPECTED = "images with transparency (png or webp) around an object"


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutouts:
    """Cut-outs of one size by class.

    Attributes:
        names: The classes.
        synonyms: Further names of each class.
        images: RGBA, 0..255, with the colours multiplied by alpha, ``C S S 4``.
        rows: First image of each class and the one after its last, ``K 2``.
        content: Hash of names and images.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    images: UInt8[np.ndarray, "C S S 4"]
    rows: Int64[np.ndarray, "K 2"]
    content: str


@dataclass(frozen=True, kw_only=True)
class _Entry:
    name: str
    further: tuple[str, ...]
    files: tuple[Path, ...]


def read_cutouts(settings: PasteSettings) -> Cutouts:
    """Read the cut-outs of a folder, cropped to what is visible.

    Raises:
        DatasetError: The folder is missing or empty, two classes have one name, or an image cannot be
            read, has no transparency or shows nothing.
        InputError: ``names`` has a class that is not in the folder.
    """
    entries = _chosen(settings, _listed(settings.folder))
    side = max(16, math.ceil(settings.size * settings.thing_size[1]))
    images: list[np.ndarray] = []
    rows: list[tuple[int, int]] = []
    digest = hashlib.sha256()
    for entry in entries:
        rows.append((len(images), len(images) + len(entry.files)))
        for file in entry.files:
            images.append(_read(file, side))
            digest.update(entry.name.encode() + b"\n" + images[-1].tobytes())
    names = tuple(entry.name for entry in entries)
    further = tuple(entry.further if settings.further_names else () for entry in entries)
    return Cutouts(
        names=names,
        synonyms=without_names_of_others(names, further),
        images=np.stack(images),
        rows=np.array(rows, np.int64),
        content=digest.hexdigest(),
    )


def _listed(folder: Path) -> list[_Entry]:
    if not folder.is_dir():
        raise _error(folder, "a file" if folder.exists() else "no folder there", "Check the path.")
    entries = _from_table(folder) if (folder / _TABLE).is_file() else _from_files(folder)
    if not entries:
        raise _error(folder, "no image", "Put them there as NAME.png, or as NAME/anything.png.")
    first: dict[str, _Entry] = {}
    for entry in entries:
        earlier = first.setdefault(class_key(entry.name), entry)
        if earlier is not entry:
            found = f"two classes of the name {entry.name!r}: {earlier.files[0]} and {entry.files[0]}"
            fix = f"Rename one, or put all images of the class into one folder {entry.name}/."
            raise _error(folder, found, fix, expected="every name once (ignoring case and spacing)")
    return entries


def _from_table(folder: Path) -> list[_Entry]:
    """Read file, tab, name, tab, further names; the files are in ``cutouts`` or beside the table.

    Lines of the very same name give several images of one class.
    """
    images = folder / "cutouts" if (folder / "cutouts").is_dir() else folder
    entries: dict[str, _Entry] = {}
    for number, line in enumerate(read_lines(folder / _TABLE), 1):
        file, *words = (part.strip() for part in line.split("\t"))
        if number == 1 and words and not is_image_name(file):
            continue  # a header
        if not words or not words[0]:
            found = f"no name in line {number} of {_TABLE}: {line[:60]!r}"
            raise _error(folder, found, "Put a tab and the name after the file.", expected="file, tab, name")
        if not (images / file).is_file():
            found = f"no file {images / file}, which line {number} of {_TABLE} names"
            raise _error(folder, found, "Add the image or remove the line.")
        name = words[0]
        further = [word.strip() for word in (words[1].split(",") if len(words) > 1 else [])]
        further = [word for word in dict.fromkeys(further) if word and class_key(word) != class_key(name)]
        before = entries.get(name, _Entry(name=name, further=(), files=()))
        entries[name] = _Entry(
            name=name,
            further=tuple(dict.fromkeys((*before.further, *further))),
            files=(*before.files, images / file),
        )
    return list(entries.values())


def _from_files(folder: Path) -> list[_Entry]:
    entries = []
    for path in sorted(folder.iterdir()):
        if is_clutter(path.name):
            continue
        name = (path.name if path.is_dir() else path.stem).replace("_", " ")
        if path.is_dir():
            files = list_images(path)
            if not files:
                raise _error(path, "no image", "Put images of the class there, or remove the folder.")
            entries.append(_Entry(name=name, further=(), files=tuple(files)))
        elif is_image_name(path.name):
            entries.append(_Entry(name=name, further=(), files=(path,)))
    return entries


def _chosen(settings: PasteSettings, entries: list[_Entry]) -> list[_Entry]:
    if not settings.names:
        return entries
    by_name = {class_key(entry.name): entry for entry in entries}
    missing = [name for name in settings.names if class_key(name) not in by_name]
    if missing:
        raise settings.refuse(
            f"the name {missing[0]!r}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            f"names among the {len(entries)} of {settings.folder}",
            "Check the spelling, or leave names out to use all.",
        )
    return [by_name[class_key(name)] for name in dict.fromkeys(settings.names)]


def _read(file: Path, side: int) -> UInt8[np.ndarray, "S S 4"]:
    try:
        has_alpha, image = decode(
            file,
            lambda opened: (
                "A" in opened.getbands() or "transparency" in opened.info,
                opened.convert("RGBA"),
            ),
        )
    except (OSError, DamagedImageError) as error:
        found = f"an image that cannot be read ({error})"
        raise _error(file, found, "Copy it again from its source, or remove it.") from error
    alpha = np.asarray(image)[..., 3]
    if not has_alpha or alpha.min() > 127:
        fix = "Cut the object out: make what is around it transparent, and save as PNG."
        raise _error(file, "an image without transparency", fix)
    if alpha.max() < 128:
        raise _error(file, "an image in which nothing is visible", "Remove it.")
    lines, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    top, left = int(lines[0]), int(columns[0])
    height, width = int(lines[-1]) + 1 - top, int(columns[-1]) + 1 - left
    square = max(height, width)
    left, top = left - (square - width) // 2, top - (square - height) // 2
    cropped = image.crop((left, top, left + square, top + square))
    # Colours multiplied by alpha while the size changes: what is see-through has no colour to bleed.
    small = cropped.convert("RGBa").resize((side, side), Image.Resampling.BILINEAR)
    return np.array(small)


def _error(path: Path, found: str, fix: str, expected: str = _EXPECTED) -> DatasetError:
    return DatasetError(doing=f"reading cut-outs from {path}", found=found, expected=expected, fix=fix)
