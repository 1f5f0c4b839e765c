"""Check a folder of a person's own data as far as reading every sample once can tell."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import LexisegError
from lexiseg.data.folder import FolderDataset
from lexiseg.data.folder_lists import first_of, read_split
from lexiseg.data.published.check_report import CheckReport


def check_folder(path: Path, *, advance: Callable[[], None] = lambda: None) -> CheckReport:
    """Check a data folder: lists, pairing, sizes, label values, images in both train.txt and val.txt."""
    report = CheckReport(name="folder", path=str(path))
    try:
        dataset = FolderDataset(path)
    except LexisegError as error:
        report.bad("", f"{error.found}; expected {error.expected}", error.fix)
        return report
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for index, stem in enumerate(dataset.stems):
        try:
            label_map = dataset[index].label_map
        except LexisegError as error:
            report.bad("", f"{stem}: {error.found}; expected {error.expected}", error.fix)
            continue
        finally:
            advance()
        if label_map is not None:
            report.num_label_files += 1
            counts += np.bincount(label_map.ravel(), minlength=IGNORE_INDEX + 1)
    if dataset.num_unlabelled:
        report.note("", f"{dataset.num_unlabelled:,} of {len(dataset):,} images without a label file")
    if counts.any():
        report.note("", f"void: {counts[IGNORE_INDEX] / counts.sum():.1%} of pixels")
        names = dataset.vocabulary.names
        absent = [name for label, name in enumerate(names) if not counts[label]]
        if absent:
            report.note("", f"{len(absent)} of {len(names)} classes never occur ({first_of(absent)})")
    if (path / "train.txt").is_file() and (path / "val.txt").is_file():
        both = sorted(set(read_split(path, "train")) & set(read_split(path, "val")))
        if both:
            found = f"{len(both):,} images of val.txt are in train.txt as well: {first_of(both)}"
            report.bad("train", found, "Remove them from train.txt.")
    return report
