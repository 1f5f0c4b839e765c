"""``lexiseg distil``: turn an open-vocabulary model into a plain, fast segmenter."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lexiseg.cli.options import Device, Licence, option, refuse_networks
from lexiseg.cli.progress import progress
from lexiseg.cli.train import LONG, MOST_HOURS, say_farewell
from lexiseg.core.terminal import open_console

if TYPE_CHECKING:
    from lexiseg.recipes.clip_to_seg import ClipToSegRecipe
    from lexiseg.runs.distil import Compared


@dataclass(frozen=True, kw_only=True)
class Distil:
    """Turn an open-vocabulary model into a plain, fast segmenter, with masks or without any.

    The student learns the teacher's space from the images of a folder and takes any words afterwards. With --labels
    none nothing but images is read; seen takes the masks of the classes in seen.txt; teacher takes
    what the teacher predicts for the classes of classes.txt. In the end both are compared: speed, and quality on
    the images of val.txt if they have labels. All settings: lexiseg train clip-to-seg/folder.
    """

    teacher: Annotated[
        str,
        tyro.conf.arg(metavar="MODEL", help="mini, or the hub id or folder of a CLIP or SigLIP checkpoint."),
    ]
    data: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help="Images, or a folder with images/ in it.")]
    out: Annotated[Path, tyro.conf.arg(metavar="RUN", help="The run's folder.")]
    labels: Annotated[
        Literal["none", "seen", "teacher"], option("none|seen|teacher", "What is learnt besides.")
    ] = "none"
    student: Annotated[
        str,
        option(
            "NAME|ID|FOLDER",
            "efficientnet-lite0, dinov2-small, or a SegFormer, ResNet, Swin or DINOv2 of the hub or a folder.",
        ),
    ] = "efficientnet-lite0"
    freeze: Annotated[
        bool, option("", "Train the student's head alone; each image goes through its backbone once.")
    ] = False
    num_steps: Annotated[int, option("N", "Updates of the weights.")] = 4000
    batch_size: Annotated[int, option("N", "Images a step.")] = 8
    size: Annotated[int, option("PIXELS", "Long side of the images that both look at.")] = 320
    resume: Annotated[bool, option("", "Go on with the run in that folder.")] = False
    quiet: Annotated[bool, option("", "Show no progress.")] = False
    long: Annotated[bool, option("", LONG)] = False
    licence: Licence = "any"
    device: Device = "auto"

    def run(self) -> int:
        """Train and compare; return the exit code."""
        from lexiseg.runs.distil import COMPARISON, compare_with_teacher, distil, distil_recipe
        from lexiseg.scoring.report import write_json

        recipe = distil_recipe(
            self.teacher, self.data, labels=self.labels, out=self.out, changes=self._change
        )
        refuse_networks(self.teacher, self.licence, recipe)
        count = len(recipe.data.training_images(recipe.run.seed)) if self.labels == "teacher" else 0
        with progress("teacher's labels", count) as advance:
            student = distil(
                recipe,
                out=self.out,
                resume=self.resume,
                quiet=self.quiet,
                most_hours=None if self.long else MOST_HOURS,
                advance=advance,
            )
        found = compare_with_teacher(student, recipe)
        write_json(found.to_json(), self.out / COMPARISON)
        _print(found)
        if not self.quiet:
            say_farewell(student, self.out, recipe)
        return 0

    def _change(self, recipe: "ClipToSegRecipe") -> "ClipToSegRecipe":
        short = self.size * 3 // 4 // 32 * 32 or self.size
        return replace(
            recipe,
            backbone=self.student,
            student=replace(recipe.student, freeze=self.freeze, remembers=self.freeze),
            data=replace(recipe.data, size=self.size),
            run=replace(recipe.run, num_steps=self.num_steps, batch_size=self.batch_size, device=self.device),
            short_side=short,
            max_long_side=2 * self.size,
        )


def _print(found: "Compared") -> None:
    from rich.table import Table

    models = found.to_json()["models"]
    measures = [
        name for name in ("mean_iou", "seen_mean_iou", "unseen_mean_iou", "harmonic_iou") if name in models[0]
    ]
    table = Table(title="Teacher and student", highlight=False)
    for heading in ("", "parameters", "images/s", "ratio", *(f"{name} %" for name in measures)):
        table.add_column(heading, justify="right" if heading else "left")
    for model in models:
        speed = model["images_per_second"]
        scores = [
            "{value:.2f} ({low:.1f}–{high:.1f})".format(
                **{end: 100 * number for end, number in model[name].items()}
            )
            for name in measures
        ]
        ratio = speed / models[0]["images_per_second"]
        table.add_row(
            model["name"], f"{model['million_parameters']:.1f} M", f"{speed:.2f}", f"{ratio:.1f}", *scores
        )
    open_console(highlight=False).print(table)
    if found.difference is not None:
        low, high = (100 * end for end in found.difference.interval)
        print(
            f"student minus teacher: {100 * found.difference.headline:+.2f} mean_iou ({low:+.1f} to {high:+.1f}), "
            f"{models[0]['num_images']:,} images, middle 95 % of draws of images"
        )
