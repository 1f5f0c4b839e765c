"""What a check of a data set found, and how to mend it."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check has to say.

    Attributes:
        level: ``bad`` spoils scores or training; ``doubt`` looks wrong but may be meant; ``note`` informs.
        split: The split of images it is about, or empty.
        what: What was found.
        fix: What to do; empty for notes.
    """

    level: Literal["bad", "doubt", "note"]
    split: str
    what: str
    fix: str = ""


@dataclass(kw_only=True)
class CheckReport:
    """Findings about one copy of a data set.

    Attributes:
        name: Of the data set.
        path: Of the copy, as given.
        findings: In the order in which they were made.
        num_label_files: Label files that were read.
    """

    name: str
    path: str
    findings: list[Finding] = field(default_factory=list)
    num_label_files: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing is bad; doubts do not count."""
        return all(finding.level != "bad" for finding in self.findings)

    def bad(self, split: str, what: str, fix: str) -> None:
        """Add a finding that spoils scores or training."""
        self.findings.append(Finding(level="bad", split=split, what=what, fix=fix))

    def doubt(self, split: str, what: str, fix: str) -> None:
        """Add a finding that looks wrong but may be meant."""
        self.findings.append(Finding(level="doubt", split=split, what=what, fix=fix))

    def note(self, split: str, what: str) -> None:
        """Add a finding that informs."""
        self.findings.append(Finding(level="note", split=split, what=what))

    def lines(self) -> list[str]:
        """Write the findings, the worst first, and the verdict."""
        order = {"bad": 0, "doubt": 1, "note": 2}
        text = []
        for finding in sorted(self.findings, key=lambda finding: order[finding.level]):
            where = f" [{finding.split}]" if finding.split else ""
            text.append(f"{finding.level:5}{where} {finding.what}")
            if finding.fix:
                text.append("      to do: " + finding.fix.replace("\n", "\n             "))
        num_bad = sum(finding.level == "bad" for finding in self.findings)
        read = f"{self.num_label_files:,} label files read"
        verdict = f"{num_bad} thing{'s' if num_bad != 1 else ''} to mend" if num_bad else "good"
        return [*text, f"{self.name} at {self.path}: {verdict} ({read})"]
