"""Which labelled images a command works on."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import ValueRangeText, option

if TYPE_CHECKING:
    from lexiseg.data.labelled_dataset import LabelledDataset


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The labelled images."""

    data: Annotated[
        Path, tyro.conf.arg(metavar="FOLDER", help="A folder with classes.txt, images/ and labels/.")
    ]
    dataset: Annotated[
        str,
        tyro.conf.arg(
            metavar="NAME",
            help="What FOLDER is: folder, or a published data set such as voc20 (lexiseg datasets lists them).",
        ),
    ] = "folder"
    split: Annotated[
        str | None,
        option("NAME", "Use the images of this split, such as val: NAME.txt of the folder; all if left out."),
    ] = None
    labelled_only: Annotated[
        bool,
        tyro.conf.arg(
            help="Leave out images without a label file instead of refusing.", help_behavior_hint=""
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    reduce_zero: Annotated[
        bool,
        tyro.conf.arg(
            help="Label files of a folder say 0 for none of the classes and k + 1 for class k.",
            help_behavior_hint="",
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False

    value_range: ValueRangeText = None

    def open(self, *, needs_labels: bool) -> "LabelledDataset":
        """Open the data set and print what makes it doubtful; a folder may lack labels unless they are needed.

        Raises:
            DatasetError: The copy is incomplete or of another kind.
            InputError: An option does not go with a published data set.
        """
        from lexiseg.core.errors import InputError
        from lexiseg.data.datasets import FOLDER, open_dataset
        from lexiseg.data.folder import FolderDataset
        from lexiseg.data.plausibility import data_warnings

        if self.dataset != FOLDER:
            if self.labelled_only or self.reduce_zero or self.value_range is not None:
                raise InputError(
                    doing=f"opening {self.dataset} in {self.data}",
                    found="--labelled-only, --reduce-zero or --value-range",
                    expected="none of them: a published data set is read by its own rules",
                    fix="Leave them out, or use --dataset folder.",
                )
            dataset = open_dataset(self.dataset, self.data, self.split)
            _print_notes(data_warnings(dataset))
            return dataset
        labels = "only" if self.labelled_only else "required" if needs_labels else "optional"
        folder = FolderDataset(
            self.data,
            self.split,
            labels=labels,  # type: ignore[arg-type]
            reduce_zero=self.reduce_zero,
            value_range=self.value_range,
        )
        if self.labelled_only and folder.num_unlabelled:
            print(
                f"note: {folder.num_unlabelled:,} images without a label file are left out", file=sys.stderr
            )
        _print_notes(data_warnings(folder))
        return folder


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
