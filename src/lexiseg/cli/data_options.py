"""Which labelled images a command works on."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lexiseg.cli.options import ValueRangeText, option

if TYPE_CHECKING:
    from lexiseg.data.labelled_dataset import LabelledDataset
    from lexiseg.inference.segmenter import Segmenter


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
        option(
            "NAME",
            "Use the images of this split, such as val: NAME.txt of the folder. If left out, scoring takes val.txt where "
            "there is one; all takes every image.",
        ),
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
        from lexiseg.data.folder import FolderDataset, split_to_score, split_to_use
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
            _give_notes(data_warnings(dataset))
            return dataset
        labels = "only" if self.labelled_only else "required" if needs_labels else "optional"
        split = split_to_use(self.data, self.split)
        if needs_labels and self.split is None and (split := split_to_score(self.data)) is not None:
            _give_notes([f"scoring the images of {split}.txt; --split all takes every image"])
        folder = FolderDataset(
            self.data,
            split,
            labels=labels,  # type: ignore[arg-type]
            reduce_zero=self.reduce_zero,
            value_range=self.value_range,
        )
        if self.labelled_only and folder.num_unlabelled:
            _give_notes([f"{folder.num_unlabelled:,} images without a label file are left out"])
        _give_notes(data_warnings(folder))
        return folder

    def refuse_trained_on(self, segmenter: "Segmenter", dataset: "LabelledDataset") -> None:
        """Refuse to score images that the model was trained on, unless the person has chosen the split.

        Raises:
            DatasetError: There are such images.
        """
        refuse_trained_on(
            segmenter,
            dataset.files(),
            doing=f"scoring {segmenter.name} on {self.data}",
            fix="Choose the images with --split NAME (NAME.txt lists their stems), or score these all the same with "
            "--split all.",
            allowed=self.split is not None,
        )


def refuse_trained_on(
    segmenter: "Segmenter", files: "Sequence[Path]", *, doing: str, fix: str, allowed: bool
) -> None:
    """Refuse to score on files that the model was trained on; say so where it is allowed, and where names alone agree.

    Raises:
        DatasetError: There are such files, and they are not allowed.
    """
    from lexiseg.core.errors import DatasetError
    from lexiseg.data.trained_on import alike_by_name_note, trained_on_note

    known = segmenter.trained_on
    if known is None:
        return
    if alike := known.alike_by_name(files):
        _give_notes([alike_by_name_note([files[place].stem for place in alike], len(files))])
    found = known.among(files)
    if not found:
        return
    note = trained_on_note([files[place].stem for place in found], len(files))
    if not allowed:
        raise DatasetError(
            doing=doing,
            found=note,
            expected="images that training has not seen (compared by content)",
            fix=fix,
        )
    _give_notes([note])


def _give_notes(notes: Sequence[str]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=3)
