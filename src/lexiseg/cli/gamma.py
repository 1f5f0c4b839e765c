"""``lexiseg gamma``: score a run of CLIP-to-Seg at many γ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.data_options import refuse_trained_on
from lexiseg.cli.options import Device, Licence, Trust, option
from lexiseg.cli.progress import progress
from lexiseg.core.terminal import open_console

#: In units of scores, whose scale (α) training has learnt.
GAMMAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """Score a run of CLIP-to-Seg at many γ: what is taken from the scores of classes that had masks.

    A larger γ finds more of the classes without masks and less of the others. The images are those that
    the run's own recipe scores, unless --data names others.
    """

    run_folder: tyro.conf.Positional[
        Annotated[Path, tyro.conf.arg(metavar="RUN", help="The folder of a run of a clip-to-seg recipe.")]
    ]
    data: Annotated[Path | None, option("FOLDER", "Score the labelled images of this folder instead.")] = None
    split: Annotated[
        str | None, option("NAME", "Split of --data; val where there is a val.txt, all for every image.")
    ] = None
    gammas: Annotated[tuple[float, ...], option("NUMBER ...", "What to take from seen classes' scores.")] = (
        GAMMAS
    )
    json: Annotated[Path | None, option("FILE", "Write the table there as well.")] = None
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"

    def run(self) -> int:
        """Sweep and print; return the exit code."""
        import json
        from dataclasses import asdict

        from rich.table import Table

        from lexiseg.core.atomic_write import atomic_path
        from lexiseg.core.errors import InputError
        from lexiseg.data.folder import FolderDataset, split_to_score, split_to_use
        from lexiseg.engine.devices import choose_device
        from lexiseg.runs.gamma import open_run, sweep_gamma
        from lexiseg.runs.licences import list_parts, refuse_other_licences

        if self.licence != "any":
            name = str(self.run_folder)
            refuse_other_licences(name, list_parts(name, trust=self.trust), self.licence)
        model, recipe = open_run(self.run_folder, trust=self.trust)
        if self.data is None:
            images = recipe.data.scored_images()
        else:
            split = split_to_score(self.data) if self.split is None else split_to_use(self.data, self.split)
            images = FolderDataset(self.data, split, labels="only")
            refuse_trained_on(
                model,
                images.files(),
                doing=f"scoring many γ of {self.run_folder} on {self.data}",
                fix="Choose the images with --split NAME, or score these all the same with --split all.",
                allowed=self.split is not None,
            )
        if images is None:
            raise InputError(
                doing=f"scoring many γ of {self.run_folder}",
                found="a recipe that scores nothing",
                expected="labelled images",
                fix="Give them with --data FOLDER.",
            )
        model = model.to(choose_device(self.device))
        with progress("scoring", len(images)) as advance:
            found = sweep_gamma(model, images, self.gammas, advance=advance)
        regime = model.method_settings["regime"]
        table = Table(
            title=f"{len(images):,} images, {regime}, mean IoU in %, middle 95 % of draws of images",
            highlight=False,
        )
        for heading in ("γ", "seen", "unseen", "harmonic"):
            table.add_column(heading, justify="right")
        for scores in found:
            values = (scores.seen, scores.unseen, scores.harmonic)
            cells = [
                f"{100 * value:.2f} ({100 * low:.1f}–{100 * high:.1f})"
                for value, (low, high) in zip(values, scores.intervals, strict=True)
            ]
            table.add_row(f"{scores.gamma:g}", *cells)
        open_console(highlight=False).print(table)
        best = max(found, key=lambda scores: scores.harmonic)
        print(f"best harmonic mean: --method.gamma {best.gamma:g}, α = {model.alpha.item():.4g}")
        print("A γ that was chosen on these images says nothing about a score on them.")
        if self.json is not None:
            facts = {"regime": regime, "images": len(images), "recipe": str(self.run_folder)}
            with atomic_path(self.json) as path:
                path.write_text(
                    json.dumps({**facts, "gammas": [asdict(one) for one in found]}, indent=1) + "\n"
                )
        return 0
