"""``lexiseg calibrate``: choose the background threshold on a training split, or measure what absent words score."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lexiseg.cli.options import Device, Licence, MethodChanges, Trust, load_segmenter, option
from lexiseg.cli.progress import progress
from lexiseg.core.errors import InputError
from lexiseg.core.terminal import open_console


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Choose a background threshold on a store of training images.

    The threshold is the one with the highest mean IoU there. With --none PHOTOS, a model is named instead of a store,
    and it is measured what words score that are not in the photographs: results then say where perhaps none of the
    words is in the image.

    A store of a validation or test split is refused: a threshold fitted to the images it is scored on
    says nothing.
    """

    store: tyro.conf.Positional[
        Annotated[
            Path,
            tyro.conf.arg(
                metavar="STORE|MODEL", help="What lexiseg predict wrote for the split; with --none, a model."
            ),
        ]
    ]
    none: Annotated[
        Path | None,
        option(
            "PHOTOS", "Measure what absent words score on the photographs of this folder, without labels."
        ),
    ] = None
    words: Annotated[
        str | None,
        option(
            "WORDS",
            "With --none: things that none of the photographs shows, of which the model knows four or more; rare things if "
            "left out.",
        ),
    ] = None
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"
    protocol: Annotated[str, tyro.conf.arg(metavar="NAME", help="Whose mean is to be highest.")] = "mmseg"
    partial: Annotated[
        bool,
        tyro.conf.arg(help="Choose on what is there though images are missing.", help_behavior_hint=""),
        tyro.conf.FlagCreatePairsOff,
    ] = False

    def run(self) -> int:
        """Sweep and print; return the exit code."""
        if self.none is not None:
            return self._measure_absent_words(self.none)
        if self.words is not None:
            raise InputError(
                doing="reading the options",
                found="--words without --none",
                expected="--none PHOTOS beside it: a store has its words",
                fix="Give both, or leave --words out.",
            )
        from rich.table import Table

        from lexiseg.scoring.calibrate import calibrate
        from lexiseg.scoring.published import find_protocol
        from lexiseg.scoring.store.store import PredictionStore

        store = PredictionStore(self.store)
        found = calibrate(store, find_protocol(self.protocol), partial=self.partial)
        if store.manifest.trained_on:
            print(
                f"note: the model was trained on {len(store.manifest.trained_on):,} of {len(store):,} images: it scores "
                "them higher than new ones, and a threshold chosen there may be too high",
                file=sys.stderr,
            )
        table = Table(title=f"{found.num_images:,} images of {found.split}, {self.protocol}", highlight=False)
        table.add_column("threshold", justify="right")
        table.add_column("IoU %", justify="right")
        step = max(1, len(found.thresholds) // 16)
        for index in range(0, len(found.thresholds), step):
            table.add_row(f"{found.thresholds[index]:.4f}", f"{100 * found.mean_iou[index]:.2f}")
        open_console().print(table)
        print(
            f"best: --background threshold --threshold {found.best:.4g} ({100 * max(found.mean_iou):.2f} %)"
        )
        print("Freeze it: predict the test split with these two options, and say where it was chosen.")
        return 0

    def _measure_absent_words(self, photos: Path) -> int:
        from lexiseg.core.vocabulary import Vocabulary
        from lexiseg.data.unlabelled_images import UnlabelledImages
        from lexiseg.inference.none_of_these import ABSENT_WORDS, COMPETING, fit_absent_scores
        from lexiseg.runs.absent_scores import absent_scores_path
        from lexiseg.runs.load import MODELS

        model = load_segmenter(
            str(self.store), self.device, self.set_, trust=self.trust, licence=self.licence
        )
        images = UnlabelledImages(photos)
        with progress("measuring", len(images)) as advance:
            words = ABSENT_WORDS if self.words is None else Vocabulary.parse(self.words).names
            photographs = (sample.image for sample in images)
            found = fit_absent_scores(model, photographs, words=words, advance=advance)
        path = absent_scores_path(str(self.store), is_registered=str(self.store) in MODELS)
        found.save(path)
        print(f"{found.num_images:,} photographs, lists of {COMPETING} absent words: {path}")
        print(
            f"of {COMPETING} words, a pixel that scores up to {found.doubtful_score(COMPETING):.4g} is unknown"
        )
        return 0
