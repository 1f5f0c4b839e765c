"""The text lists of a data folder (classes, seen classes, tags, captions, splits), and images in one folder a class."""

import csv
import dataclasses
import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lexiseg.core.errors import DatasetError, VocabularyError
from lexiseg.core.file_names import name_key
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.class_lists import names_of_wnids
from lexiseg.data.image_files import PassedOver, class_folders, list_images

_WNID = re.compile(r"n\d{8}")
_LISTS_OF_CLASSES = ("classes", "seen")


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read classes.txt, and seen.txt where there is one.

    Raises:
        DatasetError: There is no folder or no classes.txt, or seen.txt names an unknown class.
        VocabularyError: A line of classes.txt cannot be used.
    """
    path = folder / "classes.txt"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no folder there"
        raise folder_error(folder, found, "a folder with classes.txt and images/", "Check the path.")
    if not path.is_file():
        fix = "Write classes.txt: one class name a line, the first line for label 0."
        raise folder_error(folder, "no classes.txt", "a list of class names in label order", fix)
    vocabulary = Vocabulary.from_file(path)
    if vocabulary.background is None and vocabulary.names[0].casefold() == "null":
        vocabulary = dataclasses.replace(vocabulary, background=0)  # another usual name for "none of these"
    return with_seen(folder, vocabulary)


def with_seen(folder: Path, vocabulary: Vocabulary) -> Vocabulary:
    """Return the vocabulary with the seen classes of seen.txt, where there is one.

    Raises:
        DatasetError: It names an unknown class.
    """
    seen = [line.strip() for line in _lines(folder, "seen.txt") if line.strip()]
    if not seen:
        return vocabulary
    indices = frozenset(_class_index(folder, vocabulary, name, "seen.txt") for name in seen)
    return dataclasses.replace(vocabulary, seen=indices)


def read_split(folder: Path, split: str) -> list[str]:
    """Read the stems of ``<split>.txt``, sorted, each once.

    Raises:
        DatasetError: There is no such list, it is empty, or it lists classes instead of images.
    """
    if split in _LISTS_OF_CLASSES or not (folder / f"{split}.txt").is_file():
        lists = sorted(path.stem for path in folder.glob("*.txt") if path.stem not in _LISTS_OF_CLASSES)
        raise folder_error(
            folder,
            f"{split}.txt, which lists classes" if split in _LISTS_OF_CLASSES else f"no {split}.txt",
            f"one of the splits there: {', '.join(lists)}" if lists else "a file with one image stem a line",
            "Leave the split out to take all images."
            if split in _LISTS_OF_CLASSES
            else f"Write {split}.txt, or leave the split out to take all images.",
        )
    stems = {name_key(line.strip()) for line in _lines(folder, f"{split}.txt") if line.strip()}
    if not stems:
        fix = "List the images of the split."
        raise folder_error(folder, f"no stem in {split}.txt", "one image stem a line", fix)
    return sorted(stems)


def read_tags(folder: Path, vocabulary: Vocabulary) -> dict[str, frozenset[int]]:
    """Read tags.tsv: the classes said to be in each image, by stem; names or synonyms, comma-separated.

    Raises:
        DatasetError: A line has no tab, or names an unknown class.
    """
    tags: dict[str, frozenset[int]] = {}
    known: dict[str, int] = {}
    for stem, text in _pairs(folder, "tags.tsv"):
        names = [name for row in csv.reader([text], skipinitialspace=True) for name in row if name.strip()]
        for name in names:
            if name not in known:
                known[name] = _class_index(folder, vocabulary, name, f"tags.tsv (image {stem})")
        tags[stem] = tags.get(stem, frozenset()) | {known[name] for name in names}
    return tags


def read_captions(folder: Path) -> dict[str, tuple[str, ...]]:
    """Read captions.tsv: the sentences about each image, by stem, in the order of the file.

    Raises:
        DatasetError: A line has no tab.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for stem, text in _pairs(folder, "captions.tsv"):
        captions[stem].append(unquoted(text.strip()))
    return {stem: tuple(texts) for stem, texts in captions.items()}


def unquoted(text: str) -> str:
    """Return a cell without the quotes that spreadsheets put around it; one that only holds quotes stays."""
    inner = text[1:-1]
    whole = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else text


def stem_of(file: Path, folder: Path) -> str:
    """Return what joins an image with its labels, tags and captions: its path below ``folder`` without suffix."""
    return name_key(file.relative_to(folder).with_suffix("").as_posix())


def folder_error(folder: Path, found: str, expected: str, fix: str) -> DatasetError:
    """Build the error of a folder that cannot be used."""
    return DatasetError(doing=f"reading the data set {folder}", found=found, expected=expected, fix=fix)


def first_of(names: Sequence[str], count: int = 3) -> str:
    """List the first few names of many."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def _pairs(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_lines(folder, name), 1):
        if not line.strip():
            continue
        stem, tab, text = line.partition("\t")
        if not tab:
            found = f"no tab in line {number} of {name}: {line[:60]!r}"
            raise folder_error(
                folder, found, "image stem, tab, text", "Put a tab (not spaces) after the stem."
            )
        yield name_key(stem.strip()), text


def _lines(folder: Path, name: str) -> list[str]:
    path = folder / name
    if not path.is_file():
        return []
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")  # splitlines would also cut inside captions
    except (OSError, UnicodeDecodeError) as error:
        found = f"{name}, which cannot be read ({error})"
        raise folder_error(folder, found, "UTF-8 text", "Save the file as UTF-8.") from error


def _class_index(folder: Path, vocabulary: Vocabulary, name: str, where: str) -> int:
    try:
        return vocabulary.index(name)
    except VocabularyError as error:
        names = [word for words in vocabulary.all_names() for word in words]
        raise folder_error(
            folder,
            f"the class {name!r} in {where}, which is not in classes.txt",
            f"names or synonyms of the {len(vocabulary)} classes",
            f"Nearest: {', '.join(difflib.get_close_matches(name, names, n=3, cutoff=0.0))}.",
        ) from error


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, stripped, without empty ones.

    Raises:
        DatasetError: The file cannot be read as UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            doing=f"reading {path}",
            found=str(error),
            expected="a UTF-8 text file",
            fix="Copy it again from its source, or save it as UTF-8.",
        ) from error
    return [line.strip() for line in lines if line.strip()]


def read_class_folders(
    path: Path, passed_over: PassedOver | None = None
) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """List the images of ``path/CLASS/…`` in order of their names.

    Args:
        path: Holds one folder a class; underscores in its name stand for spaces, and a WordNet id such as ``n01440764``,
            as in ImageNet's own layout, for ImageNet's name of it.
        passed_over: Counts what is not looked at, also what lies beside the folders.

    Returns:
        Class names in order, and each image with the index of its class.

    Raises:
        DatasetError: There is no folder with images.
    """
    passed_over = PassedOver() if passed_over is None else passed_over
    folders = class_folders(path, passed_over)
    found = {folder: _images_of_class(folder, passed_over) for folder in folders}
    filled = [folder for folder in folders if found[folder]]
    if not filled:
        raise DatasetError(
            doing=f"reading images by class from {path}",
            found="no folder with images in it" if path.is_dir() else "no such folder",
            expected=f"one folder a class: {path.name}/cat/1.jpg, {path.name}/dog/2.jpg",
            fix="Give the folder above the folders of the classes.",
        )
    known = names_of_wnids() if any(_WNID.fullmatch(folder.name) for folder in filled) else {}
    names = tuple(known.get(folder.name) or name_key(folder.name.replace("_", " ")) for folder in filled)
    return names, [(file, label) for label, folder in enumerate(filled) for file in found[folder]]


def _images_of_class(folder: Path, passed_over: PassedOver) -> list[Path]:
    """List the images of one class sorted by path, and count the rest by paths that begin with the class."""
    inner = PassedOver()
    files = sorted(list_images(folder, inner))
    passed_over.add_below(folder.name, inner)
    return files
