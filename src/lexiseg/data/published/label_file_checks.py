"""Checks of label files: what they hold, what is wrong with it and how to mend it, as findings of a report."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError, LexisegError
from lexiseg.core.image_decoders import DamagedImageError, decode
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.folder_lists import first_of
from lexiseg.data.labelled_dataset import refuse_other_size
from lexiseg.data.published.dataset_facts import DatasetFacts
from lexiseg.data.published.label_encodings import TOP, LabelMapping, read_values
from lexiseg.data.published.layouts import Layout, Pair
from lexiseg.data.published.reader import TURNED
from lexiseg.data.splits import Split


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check has to say.

    Attributes:
        level: Severity: an ``error`` spoils scores or training, a ``warning`` looks wrong but may be meant,
            an ``info`` informs.
        split: The split of images it is about, or empty.
        what: What was found.
        fix: What to do; empty for infos.
    """

    level: Literal["error", "warning", "info"]
    split: str
    what: str
    fix: str = ""


@dataclass(kw_only=True)
class CheckReport:
    """Findings about one copy of a data set.

    Attributes:
        name: Name of the data set.
        path: Path of the copy, as given.
        findings: In the order in which they were made.
        num_label_files: Label files that were read.
    """

    name: str
    path: str
    findings: list[Finding] = field(default_factory=list)
    num_label_files: int = 0

    @property
    def is_good(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return all(finding.level != "error" for finding in self.findings)

    def error(self, split: str, what: str, fix: str) -> None:
        """Add a finding that spoils scores or training."""
        self.findings.append(Finding(level="error", split=split, what=what, fix=fix))

    def warning(self, split: str, what: str, fix: str) -> None:
        """Add a finding that looks wrong but may be meant."""
        self.findings.append(Finding(level="warning", split=split, what=what, fix=fix))

    def info(self, split: str, what: str) -> None:
        """Add a finding that informs."""
        self.findings.append(Finding(level="info", split=split, what=what))

    def lines(self) -> list[str]:
        """Write the findings, the worst first, and the verdict."""
        order = {"error": 0, "warning": 1, "info": 2}
        text = []
        for finding in sorted(self.findings, key=lambda finding: order[finding.level]):
            where = f" [{finding.split}]" if finding.split else ""
            text.append(f"{finding.level:5}{where} {finding.what}")
            if finding.fix:
                text.append("      to do: " + finding.fix.replace("\n", "\n             "))
        num_errors = sum(finding.level == "error" for finding in self.findings)
        read = f"{self.num_label_files:,} label files read"
        num_warnings = sum(finding.level == "warning" for finding in self.findings)
        verdict = f"{num_errors} thing{'s' if num_errors != 1 else ''} to mend" if num_errors else "good"
        if num_warnings:
            verdict += f", {num_warnings} warning{'s' if num_warnings != 1 else ''}"
        return [*text, f"{self.name} at {self.path}: {verdict} ({read})"]


#: Well above the void of published files, well below what is left where zero became 255.
_SUSPICIOUS_SHARE_OF_255 = 1 / 3


class FileCheck(NamedTuple):
    """What one label file holds: its values and their pixels, or why it cannot be used."""

    pair: Pair
    values: np.ndarray
    counts: np.ndarray
    error: LexisegError | None


def check_file(facts: DatasetFacts, layout: Layout, mapping: LabelMapping, pair: Pair) -> FileCheck:
    """Read one label file and compare its size with its image's; errors are kept, not raised."""
    none = np.zeros(0, np.int64)
    try:
        if not layout.applies(pair.label):
            raise DatasetError(
                doing=f"reading the label file {pair.label}",
                found=f"a file of another version than the first one ({layout.name})",
                expected="one version throughout",
                fix="Do not mix versions; use one download.",
            )
        values = read_values(pair.label, layout.encoding, facts.num_classes, pair.stem)
        size = decode(pair.image, lambda image: (image.height, image.width))
        refuse_other_size(pair.image, size, pair.label, values.shape, TURNED)
    except LexisegError as error:
        return FileCheck(pair, none, none, error)
    except (OSError, DamagedImageError) as error:
        return FileCheck(pair, none, none, DatasetError(
            doing=f"reading {pair.image}", found=f"a damaged or unknown image ({error})",
            expected="an image", fix="Copy it again from its source.",
        ))  # fmt: skip
    counts = np.bincount(values.ravel())
    found = np.flatnonzero(counts)
    return FileCheck(pair, found, counts[found], None)


def report_errors(report: CheckReport, split: str, results: list[FileCheck]) -> None:
    """Report which files cannot be used, those with the same remedy together."""
    by_fix: dict[str, list[FileCheck]] = {}
    for result in results:
        if result.error is not None:
            by_fix.setdefault(result.error.fix, []).append(result)
    for fix, same in by_fix.items():
        error = same[0].error
        assert error is not None
        names = first_of([result.pair.label.name for result in same])
        report.error(split, f"{error.found}; expected {error.expected} ({_files(len(same))}: {names})", fix)


def report_values(
    report: CheckReport,
    layout: Layout,
    mapping: LabelMapping,
    split: str,
    total: np.ndarray,
    results: list[FileCheck],
    *,
    is_whole: bool,
) -> None:
    """Report which values the layout does not know, which it should have, and which files hold no class."""
    unknown = mapping.unknown(np.flatnonzero(total).tolist())
    if unknown:
        files = [result.pair.label.name for result in results if np.isin(result.values, unknown).any()]
        shown = first_of([str(255 if value == TOP else value) for value in unknown], 12)
        report.error(
            split,
            f"the value{'s' if len(unknown) > 1 else ''} {shown} in {_files(len(files))}"
            f" ({first_of(files)}); allowed are {mapping.describe()}",
            layout.hint(unknown) or "Use the label files as they were published.",
        )
    if total.any() and not total[list(layout.expected_values)].all():
        report.warning(
            split, layout.missing_value_hint, "Compare one label map with its image, class by class."
        )
    _report_last(report, layout, mapping, split, total, is_whole=is_whole)
    whole_void = [
        result.pair.label.name
        for result in results
        if result.error is None and (mapping.table[result.values] == IGNORE_INDEX).all()
    ]
    if whole_void:
        report.info(split, f"{_files(len(whole_void))} without one scored pixel: {first_of(whole_void)}")


def _report_last(
    report: CheckReport,
    layout: Layout,
    mapping: LabelMapping,
    split: str,
    total: np.ndarray,
    *,
    is_whole: bool,
) -> None:
    """Report that zero was reduced in place: every class one less, the highest value gone, zero at 255.

    A whole copy has its highest class; a part may lack it, and is doubted only where 255 is very frequent.
    """
    if layout.highest_label is None or not total[TOP] or total[layout.highest_label]:
        return
    share = total[TOP] / total.sum()
    if not is_whole and share < _SUSPICIOUS_SHARE_OF_255:
        return
    add = report.error if is_whole else report.warning
    add(
        split,
        f"no pixel of {layout.highest_label}, the highest class, and {share:.1%} of 255: zero was probably reduced in"
        " place, which turns every class into its neighbour",
        "Use the original files; one label map beside its image, class by class, shows it.",
    )


def report_classes(
    report: CheckReport,
    split: str,
    mapping: LabelMapping,
    vocabulary: Vocabulary,
    total: np.ndarray,
    *,
    is_reported: bool,
) -> None:
    """Note the share of void and, on the reported split, the classes that never occur."""
    if not total.any():
        return
    counts = class_counts(total, mapping)
    report.info(split, f"void: {counts[IGNORE_INDEX] / total.sum():.1%} of pixels")
    absent = [name for label, name in enumerate(vocabulary.names) if not counts[label]]
    if absent and is_reported:
        report.info(
            split,
            f"{len(absent)} of {len(vocabulary)} classes never occur ({first_of(absent)}): means over all classes,"
            " over occurring ones and over predicted ones differ",
        )


def report_unseen(
    report: CheckReport,
    facts: DatasetFacts,
    split: str,
    class_split: Split,
    mapping: LabelMapping,
    results: list[FileCheck],
) -> None:
    """Report which training files hold labels of unseen classes."""
    unseen = sorted(class_split.unseen)
    leaking = [result for result in results if np.isin(mapping.table[result.values], unseen).any()]
    if leaking:
        total = class_counts(add_up(leaking), mapping)
        names = [class_split.names[label] for label in unseen if total[label]]
        report.error(
            split,
            f"labels of unseen classes of {class_split.name} ({first_of(names)}) in {_files(len(leaking))}"
            f" for training: {first_of([result.pair.label.name for result in leaking])}",
            "Turn them into void before training: lexiseg datasets convert"
            f" {facts.name} {report.path} --split {split} --hide-unseen {class_split.name} --out …",
        )


def add_up(results: list[FileCheck]) -> np.ndarray:
    """Add up pixels by file value."""
    total = np.zeros(TOP + 1, np.int64)
    for result in results:
        total[result.values] += result.counts
    return total


def class_counts(counts: np.ndarray, mapping: LabelMapping) -> np.ndarray:
    """Add up pixels by class index; void at 65535, unknown values dropped."""
    known = np.flatnonzero(counts)
    known = known[mapping.table[known] >= 0]
    return np.bincount(mapping.table[known], weights=counts[known], minlength=IGNORE_INDEX + 1).astype(
        np.int64
    )


def _files(count: int) -> str:
    return f"{count:,} label file{'s' if count != 1 else ''}"
