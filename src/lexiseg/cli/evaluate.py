"""``lexiseg evaluate``: score a model on a folder of labelled pictures."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import Device, InferenceOptions, ModelName, RimOptions, load_segmenter, option
from lexiseg.cli.progress import progress


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model on a folder of pictures with true label maps.

    One confusion matrix is counted over the whole set at the pictures' original size; the table names
    the convention of every mean.
    """

    model: tyro.conf.Positional[ModelName]
    data: Annotated[
        Path, tyro.conf.arg(metavar="FOLDER", help="A folder with classes.txt, images/ and labels/.")
    ]
    split: Annotated[
        str | None,
        option("NAME", "Use the pictures listed in NAME.txt of the folder, such as val; all if left out."),
    ] = None
    labelled_only: Annotated[
        bool,
        tyro.conf.arg(
            help="Leave out pictures without a label file instead of refusing.", help_behavior_hint=""
        ),
        tyro.conf.FlagCreatePairsOff,
    ] = False
    json: Annotated[Path | None, option("FILE", "Write the report there as well.")] = None
    device: Device = "auto"
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    rim: RimOptions = field(default_factory=RimOptions)

    def run(self) -> int:
        """Score and print; give the exit code."""
        from rich.console import Console

        from lexiseg.data.folder import FolderDataset
        from lexiseg.inference.evaluate import evaluate
        from lexiseg.metrics.report import print_report, write_report

        dataset = FolderDataset(self.data, self.split, labels="only" if self.labelled_only else "required")
        if self.labelled_only and dataset.num_unlabelled:
            print(
                f"note: {dataset.num_unlabelled:,} pictures without a label file are left out",
                file=sys.stderr,
            )
        segmenter = load_segmenter(self.model, self.device, self.rim)
        with progress("evaluating", len(dataset)) as advance:
            report = evaluate(segmenter, dataset, advance=advance, **self.inference.changes())
        print_report(report, Console())
        if self.json is not None:
            write_report(report, self.json)
        return 0
