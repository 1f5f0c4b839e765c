"""The layouts that folders of images with captions have.

``images/`` and ``captions.tsv``, Lexiseg's own · ``a.jpg`` beside ``a.txt``, also img2dataset's loose files · the
hub's ``metadata.csv`` and ``metadata.jsonl`` · COCO's ``annotations/captions_*.json``. Subfolders are a part of a name.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from lexiseg.core.file_names import name_key
from lexiseg.data.captions.coco_captions import coco_files, list_coco
from lexiseg.data.captions.folder_listing import FolderListing, ListedRecord
from lexiseg.data.captions.metadata_files import METADATA_NAMES, list_metadata
from lexiseg.data.captions.records import CaptionColumns, InvalidReason
from lexiseg.data.folder_lists import folder_error, read_split, unquoted
from lexiseg.data.image_files import PassedOver, is_image_name, walk_files

_IMAGES, _LIST = "images", "captions.tsv"
#: In the order in which they are preferred where an image has several.
_BESIDE = (".txt", ".caption", ".text", ".json")


def find_listing(path: Path, split: str | None, columns: CaptionColumns) -> FolderListing:
    """List the records of a folder, or of COCO's file, in the first layout that it has.

    Raises:
        DatasetError: A part is missing, or it has none.
    """
    if path.is_file():
        return list_coco([path], path.parent)
    if (path / _LIST).is_file():
        return _list_own(path, split)
    if files := coco_files(path, split):
        return list_coco(files, path)
    passed_over = PassedOver()
    files_below = list(walk_files(path, passed_over))
    keep = _split_of(path, split)
    tables = [name for name in files_below if os.path.basename(name).lower() in METADATA_NAMES]
    if tables:
        listing = list_metadata(path, tables, files_below, columns)
    else:
        listing = _list_side_by_side(files_below, path, passed_over)
        if not listing.records and (path / _IMAGES).is_dir():
            return _list_own(path, split)  # which says what is missing
    listing.records = [record for record in listing.records if keep(record.key)]
    listing.invalid = [record for record in listing.invalid if keep(record.key)]
    return listing


def has_layout(path: Path) -> bool:
    """Return whether a folder holds images with captions in plain files, as far as two lists tell."""
    if (path / _IMAGES).is_dir() or (path / _LIST).is_file() or coco_files(path, None):
        return True
    names = set()
    for name in walk_files(path, PassedOver()):
        if os.path.basename(name).lower() in METADATA_NAMES:
            return True
        stem, suffix = os.path.splitext(name)
        if is_image_name(name) or suffix.lower() in _BESIDE:
            kind = "image" if is_image_name(name) else "caption"
            if (stem, "image" if kind == "caption" else "caption") in names:
                return True
            names.add((stem, kind))
    return False


def _split_of(path: Path, split: str | None) -> Callable[[str], bool]:
    """Return which names are of a split: those of a list, or those in a subfolder of that name."""
    if split is None:
        return lambda key: True
    if (path / split).is_dir() and not (path / f"{split}.txt").is_file():
        return lambda key: key.startswith(f"{split}/")
    stems = set(read_split(path, split))
    return lambda key: key in stems


def _list_own(path: Path, split: str | None) -> FolderListing:
    """List images/ and captions.tsv: stem, tab, caption."""
    listing = FolderListing(kind="folder", list_name=_LIST)
    captions = _read_tsv(path, listing)
    if not (path / _IMAGES).is_dir():
        fix = "Put the images there (jpg, png or webp)."
        raise folder_error(path, "no folder images/", "images in images/", fix)
    images, doubled = listing.images_by_stem(path / _IMAGES, f"{_IMAGES}/")
    for stem in [stem for stem in captions if stem not in images and is_image_name(stem)]:
        short = os.path.splitext(stem)[0]  # the file's whole name
        if short in images and images[short].name == os.path.basename(stem):
            captions.setdefault(short, []).extend(captions.pop(stem))
    captions = {stem: texts for stem, texts in captions.items() if stem not in doubled}
    if split is not None:
        stems = set(read_split(path, split))
        absent = sorted(stems - set(images))
        listing.mark(_LIST, absent, InvalidReason.NO_IMAGE, f"a stem of {split}.txt")
        images = {stem: file for stem, file in images.items() if stem in stems}
        captions = {stem: texts for stem, texts in captions.items() if stem in stems}
    listing.join(images, captions, _IMAGES)
    return listing


def _read_tsv(path: Path, listing: FolderListing) -> dict[str, list[str]]:
    """Read captions.tsv line by line: one bad line must not cost the others."""
    try:
        content = (path / _LIST).read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        found = f"no readable {_LIST} ({error.strerror})"
        fix = "Write it: the name of an image without .jpg, a tab, a caption; one caption a line."
        raise folder_error(path, found, "captions by image stem", fix) from error
    captions: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        stem, tab, text = line.partition(b"\t")
        name = name_key(unquoted(stem.decode("utf-8", "replace").strip()))
        if not tab:
            at, why = f"line {number}", f"no tab in {name[:60]!r}"
            listing.mark(_LIST, [at], InvalidReason.NO_CAPTION, why)
            continue
        try:
            captions[name].append(unquoted(text.decode().strip()))
        except UnicodeDecodeError:
            listing.mark(_LIST, [f"{name} (line {number})"], InvalidReason.NOT_UTF8)
            captions.setdefault(name, [])
    return captions


def _list_side_by_side(names: list[str], path: Path, passed_over: PassedOver) -> FolderListing:
    """List ``a.jpg`` with ``a.txt`` or ``a.json``."""
    listing = FolderListing(kind="folder", list_name="captions")
    images: dict[str, list[str]] = defaultdict(list)
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        stem, suffix = os.path.splitext(name)
        if is_image_name(name):
            images[stem].append(name)
        elif suffix.lower() in _BESIDE:
            texts[stem].setdefault(suffix.lower(), name)
        else:
            passed_over.add_suffix(name)
    paired = {os.path.dirname(stem) for stem in images if stem in texts}
    for stem, files in sorted(images.items()):
        folder, key = os.path.dirname(stem) or path.name, name_key(Path(stem).as_posix())
        if len(files) > 1:
            listing.mark(folder, [key], InvalidReason.TWICE, ", ".join(map(os.path.basename, files)))
        elif stem not in texts:
            listing.mark(folder, [key], InvalidReason.NO_CAPTION)
        else:
            chosen = next(texts[stem][suffix] for suffix in _BESIDE if suffix in texts[stem])
            listing.records.append(ListedRecord(folder, key, path / files[0], path / chosen))
    for stem in sorted(set(texts) - set(images)):
        if os.path.dirname(stem) in paired:
            folder, key = os.path.dirname(stem) or path.name, name_key(Path(stem).as_posix())
            listing.mark(folder, [key], InvalidReason.NO_IMAGE)
        else:  # a list or a note, in a folder without pairs
            for name in texts[stem].values():
                passed_over.add_suffix(name)
    if note := passed_over.note(f"{path.name}/"):
        listing.notes.append(note)
    return listing
