"""``lexiseg sheet``: one page of a folder of results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Write one HTML page of the results in a folder, or of two folders side by side.

    The page is one file that asks no host for anything: images are in it, small. Classes filter it.
    """

    folders: tyro.conf.Positional[
        Annotated[
            tuple[Path, ...],
            tyro.conf.arg(metavar="FOLDER …", help="One folder of lexiseg segment, or two to compare."),
        ]
    ]
    out: Annotated[
        Path | None,
        tyro.conf.arg(metavar="FILE", help="The page; index.html in the first folder if left out."),
    ] = None

    def run(self) -> int:
        """Write and say where; return the exit code."""
        from lexiseg.data.formats.contact_sheet import write_contact_sheet

        if len(self.folders) not in (1, 2):
            raise InputError(
                doing="reading the options",
                found=f"{len(self.folders)} folders",
                expected="one folder of results, or two to compare",
                fix="Compare two at a time.",
            )
        out = self.folders[0] / "index.html" if self.out is None else self.out
        count = write_contact_sheet(self.folders, out)
        print(f"{count:,} images in {out}")
        return 0 if count else 1
