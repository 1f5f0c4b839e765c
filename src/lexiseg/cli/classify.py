"""``lexiseg classify``: whole images by class names, or by a linear layer trained on their vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lexiseg.cli.data_options import refuse_trained_on
from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Score a model by classification of whole images: top-1 and top-5.

    Zero-shot, by the names of the folders (of ImageNet's ids, by its names); with --train also a linear probe (LARS, 90
    epochs, as in SimSeg's Table 10) and plain logistic regression on images of the same classes.
    """

    model: tyro.conf.Positional[ModelName]
    images: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="One folder a class, named after it.")]
    train: Annotated[
        Path | None, option("FOLDER", "Train a linear probe on these images of the same classes.")
    ] = None
    prompts: Annotated[
        str | None, option("SET", "Sentences to put names into; the model's own if left out.")
    ] = None
    views: Annotated[int, option("N", "Random crops of each image that the probe is trained on.")] = 4
    fit: Annotated[
        Literal["crop", "squash"] | None,
        option(
            "crop|squash",
            "From images to the model's square: the middle of a slightly larger one (SimSeg's protocol: 324 to 288 pixels), "
            "or the whole image squashed. The model's own way if left out.",
        ),
    ] = None
    json: Annotated[Path | None, option("FILE", "Write the scores there as well.")] = None
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"

    def run(self) -> int:
        """Score and print; return the exit code."""
        import json
        import sys

        from rich.table import Table

        from lexiseg.core.atomic_write import atomic_path, refuse_unwritable
        from lexiseg.data.folder_lists import read_class_folders
        from lexiseg.runs.classification import classify_folders

        if self.json is not None:
            refuse_unwritable(self.json)
        notes: list[str] = []
        segmenter = load_segmenter(self.model, self.device, self.set_, trust=self.trust, licence=self.licence)
        refuse_trained_on(
            segmenter,
            [file for file, _ in read_class_folders(self.images)[1]],
            doing=f"scoring {self.model} on {self.images}",
            fix="Score other images.",
            allowed=True,
        )
        found = classify_folders(
            segmenter,
            self.images,
            train=self.train,
            prompts=self.prompts,
            views=self.views,
            fit=self.fit,
            notes=notes,
        )
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        table = Table("", "top-1", "top-5", highlight=False)
        for heading, row in found.items():
            table.add_row(heading, *(f"{100 * value:.1f}" for value in row.values()))
        open_console().print(table)
        if self.json is not None:
            with atomic_path(self.json) as temporary:
                facts = {"model": self.model, "images": str(self.images), "fit": self.fit, **found}
                temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return 0
