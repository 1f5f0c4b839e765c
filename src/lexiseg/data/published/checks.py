"""Check a copy of a published data set, or a data folder: files, counts, label values, sizes, versions, leaks between splits.

Every label file is read once; images of published data sets are only opened for their size.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, LexisegError, UnknownNameError
from lexiseg.data.folder import FolderDataset
from lexiseg.data.folder_lists import first_of, read_lines, read_split
from lexiseg.data.plausibility import doubtful_labels, turned_in_place
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_file_checks import (
    CheckReport,
    add_up,
    check_file,
    class_counts,
    report_classes,
    report_errors,
    report_unseen,
    report_values,
)
from lexiseg.data.published.layouts import Layout, Pair
from lexiseg.data.splits import Split


def check_dataset(
    facts: DatasetFacts,
    path: Path,
    *,
    splits: tuple[str, ...] = (),
    class_split: Split | None = None,
    whole: bool = True,
    advance: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Check a copy of a published data set.

    Args:
        facts: The data set.
        path: The folder of the copy.
        splits: Splits of images that must be there; empty for all that are, with the reported one.
        class_split: Seen and unseen classes; labels of training images must then be seen ones.
        whole: Complain when the number of images is not the published one.
        advance: Called after every label file.

    Raises:
        UnknownNameError: There is no such split of images.
    """
    report = CheckReport(name=facts.name, path=str(path))
    stems: dict[str, set[str]] = {}
    for split in splits or tuple(facts.splits):
        try:
            root, layout = facts.find(path, split)
            stems[split] = set(layout.stems(root, split))
        except UnknownNameError:
            raise
        except DatasetError as error:
            if splits or split == facts.default_split:
                report.error(split, f"{error.found}; expected {error.expected}", error.fix)
            else:
                report.info(split, "not there")
            continue
        _check_split(report, facts, root, layout, split, class_split, whole, advance)
    _check_leaks(report, stems)
    return report


def _check_split(
    report: CheckReport,
    facts: DatasetFacts,
    root: Path,
    layout: Layout,
    split: str,
    class_split: Split | None,
    whole: bool,
    advance: Callable[[], None],
) -> None:
    try:
        vocabulary = facts.read_vocabulary(root)
        mapping = layout.label_mapping(root)
        if class_split is not None:
            class_split.apply(vocabulary)
    except LexisegError as error:
        report.error(split, f"{error.found}; expected {error.expected}", error.fix)
        return
    stems = layout.stems(root, split)
    pairs = [Pair(s, layout.image_path(root, split, s), layout.label_path(root, split, s)) for s in stems]
    report.info(split, f"{len(stems):,} images, layout {layout.name}: {mapping.describe()}")
    _check_files(report, facts, root, layout, split, pairs, whole)
    there = [pair for pair in pairs if pair.image.is_file() and pair.label.is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = []
        for result in pool.map(lambda pair: check_file(facts, layout, mapping, pair), there):
            results.append(result)
            advance()
    report.num_label_files += len(there)
    report_errors(report, split, results)
    total = add_up(results)
    is_whole = len(there) in facts.splits[split] and len(there) == len(pairs)
    report_values(report, layout, mapping, split, total, results, is_whole=is_whole)
    _report_doubts(report, split, class_counts(total, mapping), len(vocabulary))
    report_classes(report, split, mapping, vocabulary, total, is_reported=split == facts.default_split)
    if class_split is not None and _is_training(split):
        report_unseen(report, facts, split, class_split, mapping, results)


def _check_files(
    report: CheckReport,
    facts: DatasetFacts,
    root: Path,
    layout: Layout,
    split: str,
    pairs: list[Pair],
    whole: bool,
) -> None:
    expected = facts.splits[split]
    if whole and len(pairs) not in expected:
        published = " or ".join(f"{count:,}" for count in expected)
        fix = "Complete the copy or its list. For a part on purpose, say so with --part."
        report.error(split, f"{len(pairs):,} images; published are {published}", fix)
    for what, files in (
        ("images", [pair.image for pair in pairs]),
        ("label files", sorted({pair.label for pair in pairs})),
    ):
        missing = [str(file.relative_to(root)) for file in files if not file.is_file()]
        if missing:
            found = f"{len(missing):,} of {len(files):,} {what} missing: {first_of(missing)}"
            report.error(split, found, f"Copy them again from the source: {facts.source}")
    list_path = layout.list_path(root, split)
    if list_path is not None:
        lines = [line.split()[0] for line in read_lines(list_path)]
        twice = [line for line, count in Counter(lines).items() if count > 1]
        if twice:
            found = f"{len(twice):,} images listed more than once in {list_path.name}: {first_of(twice)}"
            report.error(split, found, "List every image once; a repeated one would count twice elsewhere.")


def _check_leaks(report: CheckReport, stems: Mapping[str, set[str]]) -> None:
    for training in filter(_is_training, stems):
        for other in (split for split in stems if not _is_training(split)):
            both = sorted(stems[training] & stems[other])
            if both:
                found = f"{len(both):,} images of {other} are listed for training as well: {first_of(both)}"
                report.error(training, found, f"Remove them from the list of {training}.")


def _is_training(split: str) -> bool:
    return split.startswith("train") or split == "aug"


def check_folder(path: Path, *, advance: Callable[[], None] = lambda: None) -> CheckReport:
    """Check a data folder: lists, pairing, sizes, label values, images in both train.txt and val.txt."""
    report = CheckReport(name="folder", path=str(path))
    try:
        dataset = FolderDataset(path)
    except LexisegError as error:
        report.error("", f"{error.found}; expected {error.expected}", error.fix)
        return report
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for note in dataset.notes:
        report.info("", note)
    for index, stem in enumerate(dataset.stems):
        try:
            label_map = dataset[index].label_map
        except LexisegError as error:
            report.error("", f"{stem}: {error.found}; expected {error.expected}", error.fix)
            continue
        finally:
            advance()
        if label_map is not None:
            report.num_label_files += 1
            counts += np.bincount(label_map.ravel(), minlength=IGNORE_INDEX + 1)
    if dataset.num_unlabelled:
        report.info("", f"{dataset.num_unlabelled:,} of {len(dataset):,} images without a label file")
    if counts.any():
        report.info("", f"void: {counts[IGNORE_INDEX] / counts.sum():.1%} of pixels")
        names = dataset.vocabulary.names
        absent = [name for label, name in enumerate(names) if not counts[label]]
        if absent:
            report.info("", f"{len(absent)} of {len(names)} classes never occur ({first_of(absent)})")
    _report_doubts(report, "", counts, len(dataset.vocabulary))
    if turned := turned_in_place(dataset.turned_images()):
        report.warning(
            "", turned, "Turn the label files of these images if they are not, or save the images turned."
        )
    if (path / "train.txt").is_file() and (path / "val.txt").is_file():
        both = sorted(set(read_split(path, "train")) & set(read_split(path, "val")))
        if both:
            found = f"{len(both):,} images of val.txt are in train.txt as well: {first_of(both)}"
            report.error("train", found, "Remove them from train.txt.")
    return report


def _report_doubts(report: CheckReport, split: str, counts: np.ndarray, num_classes: int) -> None:
    if counts.any() and (doubt := doubtful_labels(np.flatnonzero(counts).tolist(), num_classes)):
        what, _, fix = doubt.partition(". ")
        report.warning(split, what, (fix or "Use label files with class indices") + ".")
