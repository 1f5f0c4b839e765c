"""Check a copy of a data set: files, counts, label values, sizes, versions, leaks between splits.

Every label file is read once; pictures are only opened for their size. Some 300 label files a second
and core.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, LexisegError, UnknownNameError
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.check_report import CheckReport
from lexiseg.data.dataset_facts import DatasetFacts
from lexiseg.data.folder_lists import first_of
from lexiseg.data.forms import Form, Pair
from lexiseg.data.label_codes import TOP, LabelCode
from lexiseg.data.label_encodings import read_values
from lexiseg.data.labelled_dataset import refuse_other_size
from lexiseg.data.splits import Split

_TURNED = "The sides are swapped: pictures of published sets are read as stored, so turn the label file."


class _FileCheck(NamedTuple):
    """What one label file holds: its values and their pixels, or why it cannot be used."""

    pair: Pair
    values: np.ndarray
    counts: np.ndarray
    error: LexisegError | None


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
            root, form = facts.find(path, split)
            stems[split] = set(form.stems(root, split))
        except UnknownNameError:
            raise
        except DatasetError as error:
            if splits or split == facts.default_split:
                report.bad(split, f"{error.found}; expected {error.expected}", error.fix)
            else:
                report.note(split, "not there")
            continue
        _check_split(report, facts, root, form, split, class_split, whole, advance)
    _check_leaks(report, stems)
    return report


def _check_split(
    report: CheckReport,
    facts: DatasetFacts,
    root: Path,
    form: Form,
    split: str,
    class_split: Split | None,
    whole: bool,
    advance: Callable[[], None],
) -> None:
    try:
        vocabulary = facts.read_vocabulary(root)
        code = form.code_of(root)
        if class_split is not None:
            class_split.apply(vocabulary)
    except LexisegError as error:
        report.bad(split, f"{error.found}; expected {error.expected}", error.fix)
        return
    stems = form.stems(root, split)
    pairs = [Pair(s, form.image_path(root, split, s), form.label_path(root, split, s)) for s in stems]
    report.note(split, f"{len(stems):,} images, form {form.name}: {code.describe()}")
    _check_files(report, facts, root, form, split, pairs, whole)
    there = [pair for pair in pairs if pair.image.is_file() and pair.label.is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = []
        for result in pool.map(lambda pair: _check_file(facts, form, code, pair), there):
            results.append(result)
            advance()
    report.num_label_files += len(there)
    _report_errors(report, split, results)
    total = _total(results)
    _report_values(report, form, code, split, total, results)
    _report_classes(report, split, code, vocabulary, total, is_reported=split == facts.default_split)
    if class_split is not None and split.startswith("train"):
        _report_unseen(report, facts, split, class_split, code, results)


def _check_files(
    report: CheckReport,
    facts: DatasetFacts,
    root: Path,
    form: Form,
    split: str,
    pairs: list[Pair],
    whole: bool,
) -> None:
    expected = facts.splits[split]
    if whole and len(pairs) not in expected:
        published = " or ".join(f"{count:,}" for count in expected)
        fix = "Complete the copy or its list. For a part on purpose, say so with --part."
        report.bad(split, f"{len(pairs):,} images; published are {published}", fix)
    for what, files in (
        ("pictures", [pair.image for pair in pairs]),
        ("label files", sorted({pair.label for pair in pairs})),
    ):
        missing = [str(file.relative_to(root)) for file in files if not file.is_file()]
        if missing:
            found = f"{len(missing):,} of {len(files):,} {what} missing: {first_of(missing)}"
            report.bad(split, found, f"Copy them again from the source: {facts.source}")
    list_path = form.list_path(root, split)
    if list_path is not None:
        lines = [
            line.split()[0] for line in list_path.read_text(encoding="utf-8-sig").splitlines() if line.strip()
        ]
        twice = [line for line, count in Counter(lines).items() if count > 1]
        if twice:
            found = f"{len(twice):,} images listed more than once in {list_path.name}: {first_of(twice)}"
            report.bad(split, found, "List every image once; a repeated one would count twice elsewhere.")


def _check_file(facts: DatasetFacts, form: Form, code: LabelCode, pair: Pair) -> _FileCheck:
    none = np.zeros(0, np.int64)
    try:
        if not form.applies(pair.label):
            raise DatasetError(
                doing=f"reading the label file {pair.label}",
                found=f"a file of another version than the first one ({form.name})",
                expected="one version throughout",
                fix="Do not mix versions; use one download.",
            )
        values = read_values(pair.label, form.encoding, facts.num_classes, pair.stem)
        with Image.open(pair.image) as picture:
            size = picture.size[::-1]
        refuse_other_size(pair.image, size, pair.label, values.shape, _TURNED)
    except LexisegError as error:
        return _FileCheck(pair, none, none, error)
    except OSError as error:
        return _FileCheck(pair, none, none, DatasetError(
            doing=f"reading {pair.image}", found=f"a damaged or unknown picture ({error})",
            expected="a picture", fix="Copy it again from its source.",
        ))  # fmt: skip
    counts = np.bincount(values.ravel())
    found = np.flatnonzero(counts)
    return _FileCheck(pair, found, counts[found], None)


def _report_errors(report: CheckReport, split: str, results: list[_FileCheck]) -> None:
    by_fix: dict[str, list[_FileCheck]] = {}
    for result in results:
        if result.error is not None:
            by_fix.setdefault(result.error.fix, []).append(result)
    for fix, same in by_fix.items():
        error = same[0].error
        assert error is not None
        names = first_of([result.pair.label.name for result in same])
        report.bad(split, f"{error.found}; expected {error.expected} ({_files(len(same))}: {names})", fix)


def _report_values(
    report: CheckReport, form: Form, code: LabelCode, split: str, total: np.ndarray, results: list[_FileCheck]
) -> None:
    unknown = code.unknown(np.flatnonzero(total).tolist())
    if unknown:
        files = [result.pair.label.name for result in results if np.isin(result.values, unknown).any()]
        shown = first_of([str(255 if value == TOP else value) for value in unknown], 12)
        report.bad(
            split,
            f"the value{'s' if len(unknown) > 1 else ''} {shown} in {_files(len(files))}"
            f" ({first_of(files)}); allowed are {code.describe()}",
            form.hint(unknown) or "Use the label files as they were published.",
        )
    if total.any() and not total[list(form.always)].all():
        report.doubt(split, form.absence, "Compare one label map with its picture, class by class.")
    whole_void = [
        result.pair.label.name
        for result in results
        if result.error is None and (code.table[result.values] == IGNORE_INDEX).all()
    ]
    if whole_void:
        report.note(split, f"{_files(len(whole_void))} without one scored pixel: {first_of(whole_void)}")


def _report_classes(
    report: CheckReport,
    split: str,
    code: LabelCode,
    vocabulary: Vocabulary,
    total: np.ndarray,
    *,
    is_reported: bool,
) -> None:
    if not total.any():
        return
    counts = _class_counts(total, code)
    report.note(split, f"void: {counts[IGNORE_INDEX] / total.sum():.1%} of pixels")
    absent = [name for label, name in enumerate(vocabulary.names) if not counts[label]]
    if absent and is_reported:
        report.note(
            split,
            f"{len(absent)} of {len(vocabulary)} classes never occur ({first_of(absent)}): means over all classes,"
            " over occurring ones and over predicted ones differ",
        )


def _report_unseen(
    report: CheckReport,
    facts: DatasetFacts,
    split: str,
    class_split: Split,
    code: LabelCode,
    results: list[_FileCheck],
) -> None:
    unseen = sorted(class_split.unseen)
    leaking = [result for result in results if np.isin(code.table[result.values], unseen).any()]
    if leaking:
        total = _class_counts(_total(leaking), code)
        names = [class_split.names[label] for label in unseen if total[label]]
        report.bad(
            split,
            f"labels of unseen classes of {class_split.name} ({first_of(names)}) in {_files(len(leaking))}"
            f" for training: {first_of([result.pair.label.name for result in leaking])}",
            "Turn them into void before training: lexiseg datasets convert"
            f" {facts.name} {report.path} --split {split} --hide-unseen {class_split.name} --out …",
        )


def _check_leaks(report: CheckReport, stems: Mapping[str, set[str]]) -> None:
    for training in (split for split in stems if split.startswith("train")):
        for other in (split for split in stems if not split.startswith("train")):
            both = sorted(stems[training] & stems[other])
            if both:
                found = f"{len(both):,} images of {other} are listed for training as well: {first_of(both)}"
                report.bad(training, found, f"Remove them from the list of {training}.")


def _total(results: list[_FileCheck]) -> np.ndarray:
    """Add up pixels by file value."""
    total = np.zeros(TOP + 1, np.int64)
    for result in results:
        total[result.values] += result.counts
    return total


def _class_counts(counts: np.ndarray, code: LabelCode) -> np.ndarray:
    """Add up pixels by class index; void at 65535, unknown values dropped."""
    known = np.flatnonzero(counts)
    known = known[code.table[known] >= 0]
    return np.bincount(code.table[known], weights=counts[known], minlength=IGNORE_INDEX + 1).astype(np.int64)


def _files(count: int) -> str:
    return f"{count:,} label file{'s' if count != 1 else ''}"
